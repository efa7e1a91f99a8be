"""A small data set in the layout of Open Cities: STAC catalogues, images, polygons."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from helpers import write_raster
from picture_data import PLACE, UTM, colours

LABEL_EXTENSION = "https://stac-extensions.github.io/label/v1.0.1/schema.json"


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def houses(
    boxes: Sequence[tuple[int, int, int, int]], place: Affine = PLACE, crs: str = UTM
) -> list[BaseGeometry]:
    """Rectangles (left, top, right, bottom) of a grid's pixels, in WGS 84."""
    moved = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    found = []
    for left, top, right, bottom in boxes:
        ring = [(left, top), (right, top), (right, bottom), (left, bottom)]
        corners = [moved.transform(*(place @ corner)) for corner in ring]
        found.append(shapely.Polygon(corners))
    return found


def write_geojson(path: Path, polygons: Sequence[BaseGeometry], crs: str = "") -> Path:
    """Polygons of buildings; `crs` as GeoJSON of 2008 may say it."""
    features = [
        {
            "type": "Feature",
            "properties": {"building": "yes"},
            "geometry": shapely.geometry.mapping(polygon),
        }
        for polygon in polygons
    ]
    said = {"crs": {"type": "name", "properties": {"name": crs}}} if crs else {}
    return write_json(path, {"type": "FeatureCollection", **said, "features": features})


def write_catalogue(path: Path, name: str, links: dict[str, Sequence[str]], version: str) -> Path:
    """A catalogue with links by their relation."""
    listed = [{"rel": rel, "href": href} for rel, hrefs in links.items() for href in hrefs]
    return write_json(path, {"id": name, "stac_version": version, "links": listed})


def item(name: str, assets: dict[str, Any], version: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": version,
        "id": name,
        "properties": {"datetime": "2019-10-29T00:00:00Z", **properties},
        "links": [],
        "assets": assets,
    }


def write_tier(
    root: Path,
    tier: str = "train_tier_1",
    scenes: Sequence[tuple[str, str]] = (("acc", "a1"), ("kam", "k1")),
    *,
    version: str = "0.8.1",
    image: NDArray[np.uint8] | None = None,
    boxes: Sequence[tuple[int, int, int, int]] = ((10, 10, 30, 20), (60, 40, 90, 70)),
) -> Path:
    """A catalogue of scenes (city, id), each an image with labels; returns the tier's folder."""
    folder = root / tier
    cities = sorted({city for city, _ in scenes})
    write_catalogue(
        folder / "catalog.json",
        tier,
        {"child": [f"./{c}/collection.json" for c in cities]},
        version,
    )
    for city in cities:
        names = [name for of, name in scenes if of == city]
        links = [f"./{n}{end}/{n}{end}.json" for n in names for end in ("", "-labels")]
        write_catalogue(folder / city / "collection.json", city, {"item": links}, version)
        for name in names:
            write_scene(folder / city, name, version, image, boxes)
    return folder


def write_scene(
    folder: Path,
    name: str,
    version: str,
    image: NDArray[np.uint8] | None,
    boxes: Sequence[tuple[int, int, int, int]],
) -> None:
    """An image and its labels, each in the folder of its item."""
    if image is None:
        image = np.concatenate([colours((100, 120)), np.full((1, 100, 120), 255, np.uint8)])
    alpha = {"alpha": "YES"} if len(image) == 4 else {}
    path = folder / name / f"{name}.tif"
    write_raster(path, image, PLACE, UTM, photometric="RGB", **alpha)
    tiff = "image/tiff; application=geotiff; profile=cloud-optimized"
    assets = {"image": {"href": f"./{name}.tif", "type": tiff}}
    write_json(folder / name / f"{name}.json", item(name, assets, version))
    labels = folder / f"{name}-labels"
    write_geojson(labels / f"{name}.geojson", houses(boxes))
    about = {"label:type": "vector", "label:properties": ["building"]}
    assets = {"labels": {"href": f"./{name}.geojson", "type": "application/geo+json"}}
    write_json(labels / f"{name}-labels.json", item(f"{name}-labels", assets, version, **about))
