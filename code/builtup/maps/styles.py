"""QGIS styles (QML) of the maps and of their polygons.

Those of rasters lie beside them as .qml files: average overviews and colour tables do not mix. That
of polygons stands in the GeoPackage, and for other formats in the .qml of the mask, whose name is
theirs too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from builtup.sensors.classes import Classes

__all__ = [
    "class_polygon_style",
    "class_style",
    "disagreement_style",
    "mask_style",
    "polygon_style",
    "probability_style",
    "viridis",
]

#: The oldest QGIS whose words the styles use (the long-term release that Debian 12 has).
QGIS_VERSION = "3.22.0"

#: Viridis, at steps of a twentieth from 0 to 1.
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
#: Of built-up ground in a mask, 0 to 255: the radar image below shows through.
_MASK_ALPHA = 150
#: Alpha of a probability at the threshold and at 1; from half the threshold down it is 0.
_AT_THRESHOLD, _AT_ONE = 110, 220
#: Classes of mean probability in equal steps from the threshold to 1: from pale to strong.
_CLASSES = ("255,237,160", "254,178,76", "240,59,32", "128,0,38")
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


def probability_style(band: int, threshold: float) -> str:
    """Colours for probabilities from 0 to 1, as the raster's scale gives them.

    What is far below the threshold is transparent, as no-data is, so that an image below shows.
    """
    above = np.linspace(threshold, 1, 4)
    colours = viridis(np.array([0, threshold / 2, *above]))
    alphas = (0, 0, *np.rint(np.linspace(_AT_THRESHOLD, _AT_ONE, len(above))).astype(int))
    items = [
        (float(at), f"#{red:02x}{green:02x}{blue:02x}", int(alpha), f"{at:.2f}")
        for at, (red, green, blue), alpha in zip(
            (0.0, threshold / 2, *above), colours, alphas, strict=True
        )
    ]
    return _document(_pseudocolour(band, items))


def disagreement_style() -> str:
    """Colours for the standard deviation of the dates' probabilities."""
    stops = len(_MAGMA) - 1
    ends = [_MOST_DISAGREEMENT * i / stops for i in range(stops + 1)]
    items = [(at, colour, 255, f"{at:.2f}") for at, colour in zip(ends, _MAGMA, strict=True)]
    return _document(_pseudocolour(1, items))


def mask_style(threshold: float) -> str:
    """Built-up ground in red, all else transparent; and the polygons' own style.

    The mask and its polygons have one name and so one .qml: QGIS takes from it what it needs.
    """
    entries = [("#ffffff", 0, "not built-up"), (_BUILT_UP, _MASK_ALPHA, "built-up")]
    return _document(_palette(entries), _polygon_renderer(threshold))


def class_style(classes: Classes, *, polygons_by_class: bool = False) -> str:
    """Each class in its colour, and the polygons' own style."""
    entries = [
        (f"#{red:02x}{green:02x}{blue:02x}", 255, quoteattr(name)[1:-1])
        for name, (red, green, blue) in zip(classes.names, classes.colours, strict=True)
    ]
    polygons = _class_renderer(classes) if polygons_by_class else None
    return _document(_palette(entries), polygons or _polygon_renderer(1 / len(classes)))


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


def polygon_style(threshold: float) -> str:
    """The style of a layer of polygons, as a QML document; `threshold` is their least mean."""
    return _polygon_document(_polygon_renderer(threshold))


def class_polygon_style(classes: Classes) -> str:
    """The style of polygons of several classes, each in its colour, as a QML document."""
    return _polygon_document(_class_renderer(classes))


def _polygon_document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="{QGIS_VERSION}" styleCategories="Symbology">\n'
        f"{renderer}\n <layerGeometryType>2</layerGeometryType>\n</qgis>\n"
    )


def _pseudocolour(band: int, items: Sequence[tuple[float, str, int, str]]) -> str:
    """A renderer that interpolates between values with their colour, alpha and label."""
    least, most = items[0][0], items[-1][0]
    entries = "\n".join(
        f'     <item value="{value:.6g}" color="{colour}" alpha="{alpha}" label="{label}"/>'
        for value, colour, alpha, label in items
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


def _polygon_renderer(threshold: float) -> str:
    """The part of a QML document that draws polygons, graduated by `mean_prob`."""
    ends = np.linspace(threshold, 1, len(_CLASSES) + 1)
    ranges = "\n".join(
        # the mean of a merged polygon may lie a hair below the threshold
        f'   <range symbol="{i}" lower="{lower if i else 0:.3f}" upper="{upper:.3f}" '
        f'label="{lower:.2f} – {upper:.2f}" render="true"/>'
        for i, (lower, upper) in enumerate(pairwise(ends))
    )
    symbols = "\n".join(_symbol(i, colour) for i, colour in enumerate(_CLASSES))
    return (
        ' <renderer-v2 type="graduatedSymbol" attr="mean_prob" graduatedMethod="GraduatedColor" '
        'symbollevels="0" forceraster="0" enableorderby="0">\n'
        f"  <ranges>\n{ranges}\n  </ranges>\n  <symbols>\n{symbols}\n  </symbols>\n </renderer-v2>"
    )


def _class_renderer(classes: Classes) -> str:
    """The part of a QML document that draws polygons in the colour of their `class`."""
    entries = "\n".join(
        f'   <category symbol="{i}" value={quoteattr(name)} label={quoteattr(name)} render="true"/>'
        for i, name in enumerate(classes.names)
    )
    symbols = "\n".join(
        _symbol(i, ",".join(map(str, colour))) for i, colour in enumerate(classes.colours)
    )
    return (
        ' <renderer-v2 type="categorizedSymbol" attr="class" symbollevels="0" forceraster="0" '
        f'enableorderby="0">\n  <categories>\n{entries}\n  </categories>\n  <symbols>\n{symbols}\n'
        "  </symbols>\n </renderer-v2>"
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
