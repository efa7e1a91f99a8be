"""A small set of predictions with scenes and ground truth, made by hand, and a page's contents."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyogrio.raw
import shapely
from affine import Affine
from numpy.typing import NDArray
from PIL import Image

from builtup.runs.results import CityRasters, PredictionTags
from helpers import CRS, TRANSFORM, speckle, write_polygons, write_raster

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Height and width, the threshold of the maps, and the town: rows 20 to 70, columns 30 to 80.
SHAPE, THRESHOLD = (100, 120), 0.5
TOWN = (slice(20, 70), slice(30, 80))
#: What of it is missed (rows 20 to 25), and what is mapped beside it (columns 80 to 84).
MISSED, FALSE = (slice(20, 25), slice(30, 80)), (slice(25, 70), slice(80, 84))


@dataclass(frozen=True)
class Maps:
    """Where the parts lie: predictions, ground truth (a split), 3-band scenes."""

    folder: Path
    truth: Path
    images: Path

    def rasters(self, city: str = "38SLF_Alpha") -> CityRasters:
        raw = self.folder / "raw"
        return CityRasters(city, raw / f"{city}.tif", raw / f"{city}_prob.tif")


def square(rows: slice, columns: slice, transform: Affine = TRANSFORM) -> shapely.Polygon:
    """The polygon of some pixels, drawn in a hair so that it touches no others."""
    (left, top), (right, bottom) = (
        transform @ (columns.start + 0.1, rows.start + 0.1),
        transform @ (columns.stop - 0.1, rows.stop - 0.1),
    )
    return shapely.box(left, bottom, right, top)


def probability(shape: tuple[int, int] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """High in the town but for its missed rows, high beside it, low elsewhere, 5 columns empty."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 100, shape).astype(np.uint8)
    for part, high in ((TOWN, True), (MISSED, False), (FALSE, True)):
        rows, columns = values[part].shape
        values[part] = generator.integers(150 if high else 0, 255 if high else 100, (rows, columns))
    values[:, :5] = 255
    return values


def add_city(
    root: Path,
    tile: str = "38SLF",
    name: str = "Alpha",
    values: NDArray[np.uint8] | None = None,
    transform: Affine = TRANSFORM,
    truth: bool = True,
    dates: tuple[str, ...] = ("20150101", "20150201"),
    run_id: str = "",
) -> Maps:
    """Add a city's rasters, polygons, truth and scenes below `root`."""
    maps = Maps(root / "preds", root / "gt", root / "images_3b")
    values = probability() if values is None else values
    raw, city, shape = maps.folder / "raw", f"{tile}_{name}", values.shape
    tags = PredictionTags("", city, shape[1], shape[0], run_id, THRESHOLD).as_gdal()
    mask = np.where(values == 255, 255, values >= 127).astype(np.uint8)
    deviation = np.where(values == 255, np.nan, 0.1).astype(np.float32)
    for suffix, array, nodata in (
        ("", mask, 255),
        ("_prob", values, 255),
        ("_std", deviation, np.nan),
    ):
        path = write_raster(raw / f"{city}{suffix}.tif", array, transform, nodata=nodata)
        _tag(path, tags)
    town = square(slice(TOWN[0].start + 5, TOWN[0].stop), slice(30, 84), transform)
    pyogrio.raw.write(
        raw / f"{city}.gpkg",
        np.array([town.wkb], object),
        [np.array([town.area])],
        ["area_m2"],
        crs=CRS,
        geometry_type="Polygon",
    )
    if truth:
        write_polygons(maps.truth / f"{name}_2015" / f"{city}.shp", [square(*TOWN, transform)])
    for i, date in enumerate(dates):
        power = np.stack([speckle(shape, level, 7 * i + 1) for level in (0.02, 0.1, 0.06)])
        power[:, :, :5] = np.nan
        scene = maps.images / f"{name}_2015" / f"s1a_{tile}_3b_ASC_{date}.tif"
        write_raster(scene, power, transform, nodata=np.nan)
    return maps


def _tag(path: Path, tags: dict[str, str]) -> None:
    import rasterio

    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)


def add_run(experiment: str, **tags: str) -> tuple[MlflowClient, str, Path]:
    """A run in an experiment, running, and the folder of its artifacts."""
    from builtup.runs import tracking

    own = tracking.client()
    run = own.create_run(own.get_experiment_by_name(experiment).experiment_id, tags=tags)
    folder = tracking.artifact_folder(run)
    assert folder is not None
    folder.mkdir(parents=True)
    return own, str(run.info.run_id), folder


@dataclass
class Contents(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    html: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def picture(self, name: str) -> NDArray[np.uint8]:
        """The first picture of a class, as RGBA."""
        found = next(a["src"] for a in self.of("img") if name in a.get("class", "").split())
        data = base64.b64decode(found.partition("base64,")[2])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
