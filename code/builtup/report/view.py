"""What the page shows of a city: pictures, layers, scale, charts and the worst tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from rasterio.enums import Resampling

from builtup.geo.grid import Grid
from builtup.geo.probability import SCALE, mapped_band
from builtup.geo.rasters import gdal_env, open_raster
from builtup.maps.scale_bar import ScaleBar, centre, ground_width, north, scale_bar
from builtup.report.city_counts import CityMeasure, TileCrop
from builtup.report.images import SceneImage, chosen_dates, read_image, scene_title
from builtup.report.pictures import (
    Drawing,
    OutlinePath,
    Stretch,
    encode,
    outline_path,
    paint_image,
    paint_probability,
    read_band,
    shade,
)
from builtup.report.scores import css_colour
from builtup.report.svg_charts import precision_recall_chart, reliability_chart, threshold_chart
from builtup.report.taught import UNKNOWN, TaughtScene, draw_taught
from builtup.runs.results import CONFIDENCE, PredictionTags
from builtup.sensors.catalogue import DEFAULT, sensor_named
from builtup.sensors.classes import Classes
from builtup.sensors.radar.names import plain_id
from builtup.sensors.sensor import Sensor

__all__ = ["ZOOMS", "Base", "CityView", "Layer", "TileView", "sensor_of_map", "view_city"]

ZOOMS = (1, 2, 4)
#: Colours of the layers. Laid over grey, found, missed and false stay apart for readers with each
#: kind of colour blindness, which a test holds.
COLOURS = {
    "found": (60, 140, 255),
    "missed": (255, 176, 0),
    "false": (200, 70, 0),
    "truth": (170, 60, 255),
    "builtup": (60, 140, 255),
    "unknown": UNKNOWN,
}
_LABELS = {
    "found": "Found: built-up in map and truth",
    "missed": "Missed: built-up in the truth only",
    "false": "False: built-up in the map only",
    "truth": "Ground truth",
    "builtup": "Mapped as built-up",
    "unknown": "Does not count: no data or no labels",
}
_SCORED = ("found", "missed", "false", "truth", "unknown")
_UNSCORED = ("builtup", "unknown")
_OFF = {"truth"}
#: Shares of a city's bytes for outlines, tiles and what was taught; the rest is for its maps.
_OUTLINES, _TILES, _TAUGHT = 0.2, 0.2, 0.2


@dataclass(frozen=True)
class Base:
    """A picture that fills the frame, and what its colours mean; one of them is shown.

    `key` are the names of classes and their colours, as CSS has them.
    """

    name: str
    label: str
    uri: str
    alt: str
    top: float = 1.0
    legend: str = ""
    key: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layer:
    """What can be laid over it: a picture, or outlines. `on`: shown to begin with."""

    name: str
    label: str
    on: bool
    uri: str = ""
    path: OutlinePath | None = None


@dataclass(frozen=True)
class TileView:
    """A tile: pictures by name (image, truth, probability, errors), its IoU and its place.

    `place` is left, top, width and height in percent of the city.
    """

    pictures: tuple[tuple[str, str], ...]
    iou: float
    where: str
    place: tuple[float, float, float, float]


@dataclass(frozen=True)
class TaughtView:
    """What was taught of a scene, and its map: pictures by name, and colours, as CSS has them."""

    scene: str
    pictures: tuple[tuple[str, str], ...]
    key: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class CityView:
    """A city as the page shows it; `size` and `picture` are width and height in pixels.

    `natural`: its image is a camera's, which is shown in colours, and not the mean of dates. `cut`
    says how probabilities were cut, in words.
    """

    city: str
    threshold: float
    size: tuple[int, int]
    picture: tuple[int, int]
    ground: str
    dates: tuple[str, ...]
    bases: tuple[Base, ...]
    layers: tuple[Layer, ...]
    bars: tuple[tuple[int, ScaleBar], ...] = ()
    north: float | None = None
    charts: tuple[tuple[str, Markup], ...] = ()
    tiles: tuple[TileView, ...] = ()
    taught: TaughtView | None = None
    ranked: int = 0
    simulated: bool = False
    natural: bool = False
    cut: str = ""

    @property
    def by_class(self) -> bool:
        """Whether it is shown in the colours of its classes, of which there are more than two."""
        return any(base.key for base in self.bases)


def sensor_of_map(tags: PredictionTags) -> Sensor:
    """Whose scenes a map was made from."""
    return sensor_named(tags.sensor) if tags.sensor else DEFAULT


def view_city(
    measure: CityMeasure,
    scenes: Sequence[SceneImage],
    budget: int,
    taught: TaughtScene | None = None,
) -> CityView:
    """Read and encode what the page shows of a city, in about `budget` bytes.

    Raises InputError where a raster or polygons cannot be read.
    """
    sensor, classes = sensor_of_map(measure.tags), measure.tags.class_set
    natural = sensor is not DEFAULT
    shown = tuple(scenes) if natural else chosen_dates(scenes)
    with gdal_env():
        image = read_image(shown, measure.picture, sensor) if shown else None
        stretch = _stretch(sensor, image)
        bases, drawings = _bases(measure, image, stretch)
        outlines = _outlines(measure, int(_OUTLINES * budget))
        tiles = _tiles(measure, shown, stretch, int(_TILES * budget))
        lesson = _taught(measure, taught, shown, stretch, int(_TAUGHT * budget))
    names = _UNSCORED if measure.counts is None else _SCORED
    drawings |= {n: Drawing(shade(measure.shares[n]), COLOURS[n]) for n in names}
    room = budget - (len(outlines.path.d) if outlines and outlines.path else 0)
    beside = [p for tile in tiles for p in tile.pictures] + list(lesson.pictures if lesson else ())
    uris = encode(drawings, room - sum(len(uri) for _, uri in beside))
    labels = _LABELS | ({"builtup": f"Mapped as {classes.mapped}"} if natural else {})
    off = _OFF | ({"builtup"} if bases[0].key else set())
    layers = [Layer(n, labels[n], n not in off, uris[n]) for n in names]
    width = ground_width(measure.grid)
    return CityView(
        city=measure.city,
        threshold=measure.tags.threshold,
        size=(measure.grid.width, measure.grid.height),
        picture=(measure.picture.width, measure.picture.height),
        ground=_ground(measure.grid, width),
        dates=tuple(scene_title(scene.scene) for scene in shown),
        bases=tuple(replace(b, uri=uris[b.name]) for b in bases),
        layers=(*layers, *([outlines] if outlines else [])),
        bars=tuple((zoom, scale_bar(width, zoom)) for zoom in ZOOMS) if width else (),
        north=north(measure.grid),
        charts=_charts(measure),
        tiles=tiles,
        taught=lesson,
        ranked=measure.counts.ranked if measure.counts else 0,
        simulated=measure.counts is not None and measure.counts.simulated,
        natural=natural,
        cut=_cut(measure),
    )


def _cut(measure: CityMeasure) -> str:
    """How the probabilities of a map were cut, in words."""
    if not measure.tags.class_set.by_threshold:
        return "probability of its own class" if _is_confidence(measure) else "probability"
    return f"probability, cut at {measure.tags.threshold:.3f}"


def _is_confidence(measure: CityMeasure) -> bool:
    """Whether the map's only probability is that of the class that each pixel has."""
    return measure.rasters.prob.stem.endswith(f"_{CONFIDENCE}")


def _stretch(sensor: Sensor, image: NDArray[np.float32] | None) -> Stretch | None:
    """By what is there; colours of a camera stay as they are."""
    if image is None:
        return None
    if sensor is not DEFAULT:
        return Stretch((0.0,) * 3, (255.0,) * 3)
    return Stretch.of(sensor.colours(image))


def _bases(
    measure: CityMeasure, image: NDArray[np.float32] | None, stretch: Stretch | None
) -> tuple[list[Base], dict[str, Drawing]]:
    """The pictures that fill the frame, their URIs to come, and what they are drawn from."""
    sensor, classes = sensor_of_map(measure.tags), measure.tags.class_set
    mapped, built_up = classes.mapped_index, "built-up" if sensor is DEFAULT else classes.mapped
    with open_raster(measure.rasters.prob) as dataset:
        levels = read_band(dataset, mapped_band(dataset.count, mapped), measure.picture)
    probability = levels / np.float32(SCALE)
    found: list[tuple[Base, NDArray[np.uint8]]] = []
    if not classes.by_threshold:
        found.append((_classes_base(measure.city, classes), _paint_map(measure)))
    if image is not None and stretch is not None:
        alt = f"{sensor.title} of {measure.city}: {sensor.legend}"
        base = Base("image", sensor.title, "", alt, legend=sensor.legend)
        found.append((base, paint_image(image, stretch, sensor)))
    label, alt = "Probability", f"Probability of {built_up} in {measure.city}"
    if _is_confidence(measure):
        label, alt = "Confidence", f"Probability of each pixel's own class in {measure.city}"
    found.append((Base("probability", label, "", alt), paint_probability(probability)))
    deviation = _deviation(measure)
    if deviation is not None:
        top = float(np.nanmax(deviation))
        alt = f"Disagreement of the dates of {measure.city}: standard deviation of the probability"
        base = Base("deviation", "Disagreement of dates", "", alt, top)
        found.append((base, paint_probability(deviation, top)))
    return [base for base, _ in found], {
        base.name: Drawing(image, exact=bool(base.key)) for base, image in found
    }


def _classes_base(city: str, classes: Classes) -> Base:
    key = tuple(zip(classes.names, map(css_colour, classes.colours), strict=True))
    return Base("classes", "Classes", "", f"Map of {city} in the colours of its classes", key=key)


def _paint_map(measure: CityMeasure) -> NDArray[np.uint8]:
    """The class of each picture pixel in its colour (H, W, 4), transparent where none is."""
    with open_raster(measure.rasters.mask) as dataset:
        shape = measure.picture.shape
        label = dataset.read(1, out_shape=shape, resampling=Resampling.mode)
    colours = np.zeros((256, 4), np.uint8)
    own = measure.tags.class_set.colours
    colours[: len(own), :3], colours[: len(own), 3] = own, 255
    painted: NDArray[np.uint8] = colours[label]
    return painted


def _deviation(measure: CityMeasure) -> NDArray[np.float32] | None:
    """The dates' disagreement, or None where there are fewer than two dates."""
    path = measure.rasters.mask.with_name(f"{measure.city}_std.tif")
    if not path.is_file():
        return None
    with open_raster(path) as dataset:
        values = read_band(dataset, 1, measure.picture)
    return values if np.isfinite(values).any() else None


def _outlines(measure: CityMeasure, budget: int) -> Layer | None:
    for suffix in (".gpkg", ".shp"):
        path = measure.rasters.mask.with_suffix(suffix)
        if path.is_file():
            outlines = outline_path(path, measure.picture, budget)
            label = f"Polygons: outlines of {path.name}"
            return Layer("polygons", label, measure.counts is None, path=outlines)
    return None


def _tiles(
    measure: CityMeasure, scenes: Sequence[SceneImage], stretch: Stretch | None, budget: int
) -> tuple[TileView, ...]:
    if measure.counts is None or not measure.counts.worst:
        return ()
    each = budget // len(measure.counts.worst)
    return tuple(_tile(measure, crop, scenes, stretch, each) for crop in measure.counts.worst)


def _tile(
    measure: CityMeasure,
    crop: TileCrop,
    scenes: Sequence[SceneImage],
    stretch: Stretch | None,
    budget: int,
) -> TileView:
    window, whole = crop.tile.window, measure.grid
    grid = whole.window(window.x, window.y, window.width, window.height)
    with open_raster(measure.rasters.prob) as dataset:
        band = mapped_band(dataset.count, measure.tags.class_set.mapped_index)
        values = dataset.read(band, window=window.rasterio, masked=True)
    probability = (values.astype(np.float32) / SCALE).filled(np.nan)
    pictures = {}
    if stretch is not None:
        sensor = sensor_of_map(measure.tags)
        image = paint_image(read_image(scenes, grid, sensor), stretch, sensor)
        pictures[sensor.title.lower()] = Drawing(image)
    pictures["ground truth"] = Drawing(_paint({"truth": crop.true}, crop.counted))
    pictures["probability"] = Drawing(paint_probability(probability))
    classes = {
        "found": crop.true & crop.mapped,
        "missed": crop.true & ~crop.mapped,
        "false": ~crop.true & crop.mapped,
    }
    pictures["errors"] = Drawing(_paint(classes, crop.counted))
    middle = centre(grid)
    return TileView(
        tuple(encode(pictures, budget).items()),
        crop.tile.iou,
        "" if middle is None else _degrees(*middle),
        (
            100 * window.x / whole.width,
            100 * window.y / whole.height,
            100 * window.width / whole.width,
            100 * window.height / whole.height,
        ),
    )


def _taught(
    measure: CityMeasure,
    taught: TaughtScene | None,
    scenes: Sequence[SceneImage],
    stretch: Stretch | None,
    budget: int,
) -> TaughtView | None:
    if taught is None:
        return None
    ground, drawings, key = draw_taught(taught, measure)
    if stretch is not None:
        sensor = sensor_of_map(measure.tags)
        own = [of for of in scenes if plain_id(of.scene) == taught.scene]  # else those of the city
        image = Drawing(paint_image(read_image(own or scenes, ground, sensor), stretch, sensor))
        drawings = {sensor.title.lower(): image, **drawings}
    pictures = tuple(encode(drawings, budget).items())
    return TaughtView(taught.scene, pictures, tuple((n, css_colour(c)) for n, c in key))


def _paint(classes: dict[str, NDArray[np.bool_]], counted: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Classes in their colours on dark ground (H, W, 4); transparent where nothing counts."""
    picture = np.zeros((*counted.shape, 4), np.uint8)
    picture[counted] = (24, 26, 30, 255)
    for name, chosen in classes.items():
        picture[chosen & counted] = (*COLOURS[name], 255)
    return picture


def _charts(measure: CityMeasure) -> tuple[tuple[str, Markup], ...]:
    if measure.counts is None or measure.counts.pixels.histogram[1].sum() == 0:
        return ()
    pixels, threshold = measure.counts.pixels, measure.tags.threshold
    return (
        ("Over the threshold", threshold_chart(pixels, threshold)),
        ("Precision and recall", precision_recall_chart(pixels, threshold)),
        ("Reliability", reliability_chart(pixels)),
    )


def _ground(grid: Grid, width: float | None) -> str:
    size = f"{grid.width:,} × {grid.height:,} pixels"
    if width is None:
        return size
    across, unit = (width, "m") if width < 1000 else (width / 1000, "km")
    down = across * grid.height * grid.resolution[1] / (grid.width * grid.resolution[0])
    code = grid.crs.to_epsg()
    crs = f"EPSG:{code}" if code else grid.crs.to_string()[:40]
    return f"{size} of {width / grid.width:.3g} m, {across:.3g} × {down:.3g} {unit}, {crs}"


def _degrees(longitude: float, latitude: float) -> str:
    east, up = ("E" if longitude >= 0 else "W"), ("N" if latitude >= 0 else "S")
    return f"{abs(latitude):.4f}° {up}, {abs(longitude):.4f}° {east}"
