"""A STAC item for each city's map, and a catalogue of them, so that clients find what is there.

STAC 1.0.0 (https://github.com/radiantearth/stac-spec/tree/v1.0.0) with the projection and raster
extensions. All links are relative: the folder may be moved or served from anywhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry.polygon import orient

from builtup.geo.grid import Grid
from builtup.geo.probability import SCALE
from builtup.runs.results import PredictionTags
from builtup.sensors.classes import BUILT_UP

__all__ = ["CATALOG", "DateRange", "catalog", "date_range", "item"]

CATALOG = "catalog.json"
VERSION = "1.0.0"
_SCHEMA = "https://stac-extensions.github.io"
EXTENSIONS = (
    f"{_SCHEMA}/projection/v1.1.0/schema.json",
    f"{_SCHEMA}/raster/v1.1.0/schema.json",
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_QML = "application/x-qgis-layer-settings"
#: A day, and where it is known the time, as scenes' names have them.
_MOMENT = re.compile(r"(?<!\d)((?:19|20)\d{6})(?:[tT](\d{6}))?(?!\d)")
#: Points along each side of a footprint: straight in the map's CRS, curved in degrees.
_SIDE = 8


@dataclass(frozen=True)
class DateRange:
    """From the first to the last date of a map, as RFC 3339 times in UTC."""

    start: str
    end: str


def date_range(scenes: Iterable[str]) -> DateRange | None:
    """The dates in the names of scenes; None where there is none.

    Without a time of day a scene may be of any time of its day.
    """
    spans = []
    for name in scenes:
        for day, clock in _MOMENT.findall(name):
            try:
                first = datetime.strptime(f"{day}{clock or '000000'}", "%Y%m%d%H%M%S")
            except ValueError:
                continue  # eight digits that are no date
            last = first if clock else first + timedelta(days=1, seconds=-1)
            spans.append((first, last))
    if not spans:
        return None
    firsts, lasts = zip(*spans, strict=True)
    return DateRange(f"{min(firsts).isoformat()}Z", f"{max(lasts).isoformat()}Z")


def item(
    tags: PredictionTags,
    grid: Grid,
    dates: DateRange,
    files: Sequence[Path],
    *,
    bands: int = 1,
    counted: str = "uint8",
) -> str:
    """The STAC item of one city, as JSON.

    `files` are its products, those absent left out; `bands` the number of the probability's,
    `counted` the type of the numbers of dates.
    """
    footprint, code = _footprint(grid), grid.crs.to_epsg()
    projection = {
        "proj:epsg": code,
        **({} if code else {"proj:wkt2": pyproj.CRS.from_wkt(grid.crs.to_wkt()).to_wkt()}),
        "proj:shape": list(grid.shape),
        "proj:transform": [*tuple(grid.transform)[:6]],
        "proj:bbox": list(grid.bounds),
    }
    document = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": tags.city,
        "geometry": mapping(footprint),
        "bbox": _bbox(footprint),
        "properties": {
            "title": _title(tags),
            "datetime": None,
            "start_datetime": dates.start,
            "end_datetime": dates.end,
            **projection,
            "builtup:threshold": tags.threshold,
            "builtup:run_id": tags.run_id,
            **({"builtup:classes": list(tags.classes)} if tags.decision else {}),
            **({"builtup:doubts": list(tags.doubts)} if tags.doubts else {}),
        },
        "links": [_link("root", CATALOG), _link("parent", CATALOG)],
        "assets": _assets(tags, files, bands, counted),
    }
    return _json(document)


def catalog(items: Sequence[Path]) -> str:
    """The STAC catalogue, as JSON, of items that stand beside it."""
    links = [
        _link("root", CATALOG),
        *({**_link("item", path.name), "type": "application/geo+json"} for path in items),
    ]
    document = {
        "type": "Catalog",
        "stac_version": VERSION,
        "id": "builtup",
        "description": "Maps of buildings and settlements from radar and from the air.",
        "links": links,
    }
    return _json(document)


def _link(relation: str, name: str) -> dict[str, str]:
    return {"rel": relation, "href": _href(name), "type": "application/json"}


def _href(name: str) -> str:
    """The relative address of a file: blanks and signs such as # have another meaning in one.

    Letters of other scripts stay, as STAC allows (IRI): pystac opens no local file otherwise.
    """
    return "./" + "".join(quote(sign) if sign.isascii() else sign for sign in name)


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


# --- assets -----------------------------------------------------------------------------------


def _title(tags: PredictionTags) -> str:
    classes = tags.class_set
    if classes.by_threshold and classes.mapped == BUILT_UP.mapped:
        return f"Buildings and settlements of {tags.city}"
    return f"{_named(classes.mapped)} of {tags.city}"


def _named(name: str) -> str:
    return name[:1].upper() + name[1:]


def _assets(
    tags: PredictionTags, files: Sequence[Path], bands: int, counted: str
) -> dict[str, Any]:
    """What is known of each file by the end of its name."""
    city, classes = tags.city, tags.class_set
    probabilities = f"{_named(classes.mapped)} probability" if bands == 1 else "Probabilities"
    by_class = ", ".join(f"{i} {name}" for i, name in enumerate(classes.names))
    label = "Built-up mask" if classes.by_threshold else f"Classes: {by_class}"
    probability = {"data_type": "uint8", "nodata": 255, "scale": 1 / SCALE, "offset": 0}
    known: dict[str, tuple[str, dict[str, Any]]] = {
        "_prob.tif": ("probability", _raster(probabilities, *[probability] * bands)),
        "_confidence.tif": ("confidence", _raster("Probability of each class", probability)),
        ".tif": ("mask", _raster(label, {"data_type": "uint8", "nodata": 255})),
        "_std.tif": (
            "disagreement",
            _raster("Disagreement of the dates", {"data_type": "float32", "nodata": "nan"}),
        ),
        "_count.tif": (
            "count",
            _raster(
                "Valid dates",
                {"data_type": counted, "nodata": int(np.iinfo(counted).max)},
                role="metadata",
            ),
        ),
        ".gpkg": ("polygons", _file("Polygons", "application/geopackage+sqlite3", "data")),
        ".parquet": (
            "polygons_geoparquet",
            _file("Polygons, GeoParquet", "application/vnd.apache.parquet", "data"),
        ),
        "_preview.png": (
            "preview",
            _file("Probability and polygons", "image/png", "overview", "thumbnail"),
        ),
        ".qml": ("style", _file("QGIS style of mask and polygons", _QML, "metadata")),
        "_prob.qml": ("style_probability", _file("QGIS style of probability", _QML, "metadata")),
        "_confidence.qml": (
            "style_confidence",
            _file("QGIS style of confidence", _QML, "metadata"),
        ),
        "_std.qml": ("style_disagreement", _file("QGIS style of disagreement", _QML, "metadata")),
    }
    there = {path.name for path in files}
    return {
        key: {"href": _href(f"{city}{end}"), **about}
        for end, (key, about) in known.items()
        if f"{city}{end}" in there
    }


def _file(title: str, media_type: str, *roles: str) -> dict[str, Any]:
    return {"title": title, "type": media_type, "roles": list(roles)}


def _raster(title: str, *bands: dict[str, Any], role: str = "data") -> dict[str, Any]:
    return {**_file(title, _COG, role), "raster:bands": list(bands)}


# --- where it is ------------------------------------------------------------------------------


def _footprint(grid: Grid) -> shapely.Polygon | shapely.MultiPolygon:
    """The grid's outline in longitude and latitude, cut in two at the antimeridian (RFC 7946)."""
    along = np.linspace(0, 1, _SIDE, endpoint=False)
    corners = np.array(grid.corners)
    starts, ends = corners, np.roll(corners, -1, axis=0)
    ring = (starts[:, None] + along[None, :, None] * (ends - starts)[:, None]).reshape(-1, 2)
    crs = pyproj.CRS.from_wkt(grid.crs.to_wkt())
    there = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lonlat: NDArray[np.float64] = np.stack(there.transform(ring[:, 0], ring[:, 1]), axis=1)
    if np.ptp(lonlat[:, 0]) > 180:
        lonlat[:, 0] %= 360
    polygon = orient(shapely.Polygon(np.round(lonlat, 7)))
    left, _, right, _ = polygon.bounds
    if right <= 180:
        return polygon
    west = shapely.clip_by_rect(polygon, left, -90, 180, 90)
    east = shapely.clip_by_rect(polygon, 180, -90, right, 90)
    east = shapely.transform(east, lambda xy: xy - (360, 0))
    return shapely.MultiPolygon([orient(part) for part in shapely.get_parts([west, east])])


def _bbox(footprint: shapely.Polygon | shapely.MultiPolygon) -> list[float]:
    """West, south, east, north; west is larger than east across the antimeridian."""
    west, south, east, north = footprint.bounds
    if isinstance(footprint, shapely.MultiPolygon):
        first, second = footprint.geoms
        west, east = first.bounds[0], second.bounds[2]
    return [west, south, east, north]
