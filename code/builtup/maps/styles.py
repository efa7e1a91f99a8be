"""QGIS styles (.qml) that lie beside rasters: average overviews and colour tables do not mix."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from builtup.geo.layer_styles import QGIS_VERSION, polygon_renderer
from builtup.geo.probability import SCALE
from builtup.sensors.classes import Classes

__all__ = ["class_style", "disagreement_style", "mask_style", "probability_style"]

#: Viridis, at equal steps from 0 to 1.
_VIRIDIS = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
#: Magma, from no disagreement on.
_MAGMA = ("#000004", "#2c115f", "#721f81", "#b73779", "#f1605d", "#feb078", "#fcfdbf")
_BUILT_UP = "#d7301f"
#: Of values from 0 to 1 the standard deviation is at most a half; dates differ by less.
_MOST_DISAGREEMENT = 0.4


def probability_style(band: int) -> str:
    """Colours for the 8-bit values 0 to 254, labelled 0 to 1; no-data stays transparent."""
    stops = len(_VIRIDIS) - 1
    items = [(SCALE * i / stops, colour, f"{i / stops:.2f}") for i, colour in enumerate(_VIRIDIS)]
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
    return _document(_palette(entries), polygon_renderer())


def class_style(classes: Classes) -> str:
    """Each class in its colour, and the polygons' own style."""
    entries = [
        (f"#{red:02x}{green:02x}{blue:02x}", 255, quoteattr(name)[1:-1])
        for name, (red, green, blue) in zip(classes.names, classes.colours, strict=True)
    ]
    return _document(_palette(entries), polygon_renderer())


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
