"""QGIS styles (QML) of the maps and of their polygons.

Those of rasters lie beside them as .qml files: average overviews and colour tables do not mix. That
of polygons stands in the GeoPackage, and for other formats in the .qml of the mask, whose name is
theirs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import SCALE
from builtup.sensors.classes import Classes

__all__ = [
    "class_style",
    "disagreement_style",
    "mask_style",
    "polygon_style",
    "probability_style",
    "viridis",
]

#: The oldest QGIS whose words the styles use (the long-term release that Debian 12 has).
QGIS_VERSION = "3.22.0"

#: Viridis, at steps of a twentieth from 0 to 1; a legend shows every second.
_VIRIDIS = (
    "#440154", "#471365", "#482475", "#463480", "#414487", "#3b528b", "#355f8d",
    "#2f6c8e", "#2a788e", "#25848e", "#21918c", "#1e9c89", "#22a884", "#2fb47c",
    "#44bf70", "#5ec962", "#7ad151", "#9bd93c", "#bddf26", "#dfe318", "#fde725",
)  # fmt: skip
#: Magma, from no disagreement on.
_MAGMA = ("#000004", "#2c115f", "#721f81", "#b73779", "#f1605d", "#feb078", "#fcfdbf")
_BUILT_UP = "#d7301f"
#: Of values from 0 to 1 the standard deviation is at most a half; dates differ by less.
_MOST_DISAGREEMENT = 0.4
#: Lower ends of the classes of mean probability, and their colours from pale to strong.
_CLASSES = ((0.0, "255,237,160"), (0.5, "254,178,76"), (0.7, "240,59,32"), (0.85, "128,0,38"))
_OUTLINE = "60,10,20,255"


def viridis(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The colours (..., 3) of values (...) from 0 to 1, as the style of the probabilities has them.

    In 256 steps, between which nobody sees a difference.
    """
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in _VIRIDIS])
    at = np.linspace(0, 1, len(stops))
    steps = np.linspace(0, 1, 256)
    table = np.stack([np.interp(steps, at, stops[:, band]) for band in range(3)], axis=-1)
    return np.rint(table).astype(np.uint8)[np.rint(np.clip(values, 0, 1) * 255).astype(np.intp)]


def probability_style(band: int) -> str:
    """Colours for the 8-bit values 0 to 254, labelled 0 to 1; no-data stays transparent."""
    shown = _VIRIDIS[::2]
    stops = len(shown) - 1
    items = [(SCALE * i / stops, colour, f"{i / stops:.1f}") for i, colour in enumerate(shown)]
    return _document(_pseudocolour(band, items))


def disagreement_style() -> str:
    """Colours for the standard deviation of the dates' probabilities."""
    stops = len(_MAGMA) - 1
    ends = [_MOST_DISAGREEMENT * i / stops for i in range(stops + 1)]
    items = [(at, colour, f"{at:.2f}") for at, colour in zip(ends, _MAGMA, strict=True)]
    return _document(_pseudocolour(1, items))


def mask_style() -> str:
    """Built-up ground in red, all else transparent; and the polygons' own style.

    The mask and its polygons have one name and so one .qml: QGIS takes from it what it needs.
    """
    entries = [("#ffffff", 0, "not built-up"), (_BUILT_UP, 255, "built-up")]
    return _document(_palette(entries), _polygon_renderer())


def class_style(classes: Classes) -> str:
    """Each class in its colour, and the polygons' own style."""
    entries = [
        (f"#{red:02x}{green:02x}{blue:02x}", 255, quoteattr(name)[1:-1])
        for name, (red, green, blue) in zip(classes.names, classes.colours, strict=True)
    ]
    return _document(_palette(entries), _polygon_renderer())


def _palette(entries: Sequence[tuple[str, int, str]]) -> str:
    """A renderer of the values 0, 1, …: their colour, alpha and label."""
    lines = "".join(
        f'    <paletteEntry value="{value}" color="{colour}" alpha="{alpha}" label="{label}"/>\n'
        for value, (colour, alpha, label) in enumerate(entries)
    )
    return (
        '  <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">\n'
        f"   <rasterTransparency/>\n   <colorPalette>\n{lines}"
        "   </colorPalette>\n  </rasterrenderer>"
    )


def polygon_style() -> str:
    """The style of a layer of polygons, as a QML document."""
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="{QGIS_VERSION}" styleCategories="Symbology">\n'
        f"{_polygon_renderer()}\n <layerGeometryType>2</layerGeometryType>\n</qgis>\n"
    )


def _pseudocolour(band: int, items: Sequence[tuple[float, str, str]]) -> str:
    least, most = items[0][0], items[-1][0]
    entries = "\n".join(
        f'     <item value="{value:.6g}" color="{colour}" alpha="255" label="{label}"/>'
        for value, colour, label in items
    )
    return (
        f'  <rasterrenderer type="singlebandpseudocolor" band="{band}" opacity="1" '
        f'alphaBand="-1" nodataColor="" classificationMin="{least:g}" '
        f'classificationMax="{most:g}">\n   <rasterTransparency/>\n   <rastershader>\n'
        f'    <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" '
        f'minimumValue="{least:g}" maximumValue="{most:g}">\n{entries}\n'
        "    </colorrampshader>\n   </rastershader>\n  </rasterrenderer>"
    )


def _document(raster_renderer: str, vector_renderer: str = "") -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="{QGIS_VERSION}" styleCategories="Symbology">\n'
        f" <pipe>\n{raster_renderer}\n </pipe>\n"
        + (f"{vector_renderer}\n" if vector_renderer else "")
        + "</qgis>\n"
    )


def _polygon_renderer() -> str:
    """The part of a QML document that draws polygons, graduated by `mean_prob`."""
    ends = [lower for lower, _ in _CLASSES[1:]] + [1.0]
    ranges = "\n".join(
        f'   <range symbol="{i}" lower="{lower:.2f}" upper="{upper:.2f}" '
        f'label="{lower:.2f} – {upper:.2f}" render="true"/>'
        for i, ((lower, _), upper) in enumerate(zip(_CLASSES, ends, strict=True))
    )
    symbols = "\n".join(_symbol(i, colour) for i, (_, colour) in enumerate(_CLASSES))
    return (
        ' <renderer-v2 type="graduatedSymbol" attr="mean_prob" graduatedMethod="GraduatedColor" '
        'symbollevels="0" forceraster="0" enableorderby="0">\n'
        f"  <ranges>\n{ranges}\n  </ranges>\n  <symbols>\n{symbols}\n  </symbols>\n </renderer-v2>"
    )


def _symbol(name: int, colour: str) -> str:
    options = {
        "color": f"{colour},120",
        "outline_color": _OUTLINE,
        "outline_style": "solid",
        "outline_width": "0.2",
        "outline_width_unit": "MM",
        "style": "solid",
    }
    # QGIS before 3.26 reads <prop>, later ones <Option>
    props = "".join(f'<prop k="{key}" v="{value}"/>' for key, value in options.items())
    mapped = "".join(
        f'<Option name="{key}" type="QString" value="{value}"/>' for key, value in options.items()
    )
    return (
        f'   <symbol name="{name}" type="fill" alpha="1" clip_to_extent="1" force_rhr="0">'
        '<layer class="SimpleFill" enabled="1" locked="0" pass="0">'
        f'<Option type="Map">{mapped}</Option>{props}</layer></symbol>'
    )
