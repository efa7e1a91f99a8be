"""How QGIS shows polygons of built-up ground: filled by their mean probability.

A GeoPackage carries the style in itself (the table `layer_styles`, which QGIS reads on opening);
for other formats it stands in a .qml file of the same name.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["DATE", "add_layer_style", "polygon_renderer", "polygon_style"]

#: Files hold the date of writing unless they are told one.
DATE = "2000-01-01"
#: The oldest QGIS whose words the styles use (the long-term release that Debian 12 has).
QGIS_VERSION = "3.22.0"
_NAME = "builtup"
#: Lower ends of the classes of mean probability, and their colours from pale to strong.
_CLASSES = ((0.0, "255,237,160"), (0.5, "254,178,76"), (0.7, "240,59,32"), (0.85, "128,0,38"))
_OUTLINE = "60,10,20,255"

#: As QGIS makes it, but for the default of update_time.
_TABLE = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
  f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30),
  styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
  ui TEXT(30), update_time DATETIME)
"""
_STYLE = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column,
  styleName, styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)
VALUES ('', '', ?, 'geom', ?, ?, '', 1, 'filled by mean probability', '', NULL, ?)
"""
_CONTENTS = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)
"""


def add_layer_style(path: Path, layer: str) -> None:
    """Put the style of polygons into a closed GeoPackage, as the default of `layer`.

    Raises sqlite3.Error where it cannot be written.
    """
    moment = f"{DATE}T00:00:00.000Z"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_TABLE)
        database.execute(_CONTENTS, (moment,))
        database.execute(_STYLE, (layer, _NAME, polygon_style(), moment))


def polygon_style() -> str:
    """The style of a layer of polygons, as a QML document."""
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="{QGIS_VERSION}" styleCategories="Symbology">\n'
        f"{polygon_renderer()}\n <layerGeometryType>2</layerGeometryType>\n</qgis>\n"
    )


def polygon_renderer() -> str:
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
