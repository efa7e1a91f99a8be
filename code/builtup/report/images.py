"""Where the images of a report come from, and how they are read: scenes, or predicted tiles."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Allow
from builtup.geo.rasters import open_raster
from builtup.geo.target_grid import shared_ground
from builtup.geo.windows import aligned
from builtup.maps.places import MapScenes, one_each, with_cities
from builtup.runs import tracking
from builtup.runs.manifest import LoggedConfig
from builtup.runs.records import InferenceRecord, member_runs
from builtup.runs.results import Results, base_city
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.optical import stored_images
from builtup.sensors.optical.image_reader import open_image
from builtup.sensors.optical.stored_images import ImageHeaders
from builtup.sensors.radar.discovery import find_scenes
from builtup.sensors.radar.headers import SceneHeaders, read_headers
from builtup.sensors.radar.names import SceneName, plain_id
from builtup.sensors.radar.reader import open_power
from builtup.sensors.radar.units import judge_units
from builtup.sensors.scene_files import find_rasters, require_folder
from builtup.sensors.sensor import Sensor
from builtup.sensors.source import Headers
from builtup.tiles.table import TILE_STATS_CSV
from builtup.tiles.tile import TILES_CSV, parse_tile, read_rows

__all__ = [
    "SceneImage",
    "chosen_dates",
    "find_images",
    "images_of",
    "read_image",
    "scene_title",
]

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
#: Lists of tiles, and the column in which each names a tile's file.
_LISTS = {TILES_CSV: "path", TILE_STATS_CSV: "image_path"}
#: Dates that are averaged for the background at most.
MOST_DATES = 4
#: GDAL's working memory of a warp, in MB.
WARP_MB = 64
#: Rows and columns of a stored scene that are read at once: 17 MB.
PART = (512, 4096)
#: Stands for the coordinates of grids without a CRS, which are moved to none.
_NO_CRS = rasterio.CRS.from_epsg(3857)


@dataclass(frozen=True)
class SceneImage:
    """A scene's image: its file, those of its tiles, or the scene as it is stored elsewhere.

    `date` is YYYYMMDD; of a city with folders of several years `year` says which, else it is empty.
    """

    scene: str
    date: str
    paths: tuple[Path, ...] = ()
    stored: Headers | None = None
    year: str = ""


#: The scenes of each city, or the image of each map, by its key.
Images = Mapping[str, tuple[SceneImage, ...]]


def find_images(results: Results, images_path: str = "", sensor: Sensor = DEFAULT) -> Images:
    """The scenes of each city, of all its years, by date: those below `images_path`, else those
    predicted.

    `images_path` holds 3-band scenes, a list of tiles, or scenes as `predict` takes them from
    `sensor`. The run's own list is named by the config that lies beside the predictions, the
    scenes of `predict` by its run, those of an ensemble by its members' runs. Where nothing is
    known there are none, and a warning; raises InputError where `images_path` was given and holds
    none.
    """
    if images_path:
        return _given(images_path, sensor)
    runs = dict.fromkeys(member_runs(results.folder))
    members = [Results(results.folder, run_id) for run_id in runs]
    return _joined([_predicted(one, sensor) for one in members or [results]])


def images_of(images: Images, key: str, year: str) -> tuple[SceneImage, ...]:
    """Those of the map of that key: of its city, and of its year unless this is empty."""
    own = images.get(base_city(key, year), ())
    return tuple(image for image in own if not year or image.year in ("", year))


def _joined(parts: Iterable[Images]) -> Images:
    """Each scene once, by city and date."""
    found: dict[str, dict[tuple[str, str], SceneImage]] = defaultdict(dict)
    for part in parts:
        for city, scenes in part.items():
            for scene in scenes:
                found[city].setdefault((scene.date, scene.scene), scene)
    return {city: tuple(scenes[key] for key in sorted(scenes)) for city, scenes in found.items()}


def _given(place: str, sensor: Sensor) -> Images:
    """The scenes of a folder, or, of a camera, of what `predict` takes."""
    folder = Path(place)
    if sensor is DEFAULT:
        return _scenes_below(require_folder(folder))
    return _listed_below(folder) or _images_below(place)


def _predicted(results: Results, sensor: Sensor) -> Images:
    """The scenes that one inference predicted; none, and a warning, where they are not known."""
    what = "radar images" if sensor is DEFAULT else "images"
    try:
        folder = _predicted_from(results)
        if folder is not None:
            return _given(str(folder), sensor)
        found = _of_run(results, sensor)
        if found is not None:
            return found
    except BuiltupError as e:
        log.warning("the report has no %s: %s", what, e)
        return {}
    log.warning("the report has no %s: nothing says where they are; give images_path", what)
    return {}


def _predicted_from(results: Results) -> Path | None:
    """The data_path of the inference, from its config or from its run; None where neither is."""
    path = LoggedConfig.path(results.folder)
    if path.is_file():
        place = LoggedConfig.read(results.folder).settings.get("data_path")
        if not isinstance(place, str):
            raise InputError(path, "names no data_path", "give images_path")
        return require_folder(Path(place))
    if not results.run_id:
        return None
    from builtup.runs import tracking

    logged = tracking.find_run(results.run_id).data.params.get("cfg/data_path")
    return require_folder(Path(logged)) if logged else None


def _listed_below(folder: Path) -> Images:
    """The scenes of a list of tiles in a folder; none without one."""
    for name, column in _LISTS.items():
        if (folder / name).is_file():
            return _from_list(folder / name, column)
    return {}


def _scenes_below(folder: Path) -> Images:
    if listed := _listed_below(folder):
        return listed
    scenes = find_rasters(folder, "3b")
    if not scenes:
        return _stored_below(folder)
    return _by_city((s.city, s.scene_id, s.date, s.year, s.path) for s in scenes)


def _stored_below(folder: Path) -> Images:
    try:
        return _as_stored(_stored_scenes(str(folder)))
    except InputError as e:
        names = " and no ".join(_LISTS)
        stored = " and ".join(sorted(DEFAULT.names, reverse=True))
        problem = f"no 3-band scenes and no {names}; as scenes of {stored}: {e.problem}"
        raise InputError(folder, problem, "give the folder of one") from e


def _as_stored(maps: Iterable[MapScenes]) -> Images:
    cities: dict[str, list[SceneImage]] = defaultdict(list)
    for one in maps:
        cities[base_city(one.key, one.year)] += [
            SceneImage(found.scene.scene_id, found.scene.date, stored=found, year=one.year)
            for found in one.dates
        ]
    return {
        city: tuple(sorted(images, key=lambda image: (image.date, image.scene)))
        for city, images in cities.items()
    }


def _images_below(place: str) -> Images:
    """Images from the air by the names of their maps, each of which shows one; and by site."""
    headers = list(_image_headers(stored_images.find_images(place).scenes))
    of_site: dict[str, list[SceneImage]] = defaultdict(list)
    of_map: dict[str, tuple[SceneImage, ...]] = {}
    for one in one_each(headers):
        (found,) = one.dates
        image = SceneImage(found.scene.scene_id, found.scene.date, stored=found)
        of_map[one.key] = (image,)
        of_site[found.scene.city].append(image)
    return {site: tuple(images) for site, images in of_site.items()} | of_map


def _from_list(path: Path, column: str) -> Images:
    home = path.parent.resolve()
    tiles = [parse_tile(path, home, row, column) for row in read_rows(path)]
    there = [tile for tile in tiles if tile.path.is_file()]
    if not there:
        raise InputError(path, "none of its tiles is there any more", "give images_path")
    return _by_city((t.city, t.scene, t.date, t.year, t.path) for t in there)


def _by_city(
    files: Iterable[tuple[str, str, str, str, Path]],
) -> Images:
    found: dict[str, dict[tuple[str, str, str], list[Path]]]
    found = defaultdict(lambda: defaultdict(list))
    for city, scene, date, year, path in files:
        paths = found[city][date, scene, year]
        if path not in paths:  # tiles that point into one scene name it many times
            paths.append(path)
    return {
        city: tuple(
            SceneImage(scene, date, tuple(paths), year=year)
            for (date, scene, year), paths in sorted(scenes.items())
        )
        for city, scenes in found.items()
    }


def scene_title(scene: str) -> str:
    """A scene id for people: `S1A ASC 2015-10-05`."""
    name = SceneName.parse(f"{scene.replace('{}', '3b')}.tif")
    if name is None:
        return plain_id(scene)
    date = f"{name.date[:4]}-{name.date[4:6]}-{name.date[6:]}"
    return " ".join(filter(None, [name.stem[:3].upper(), name.orbit, date]))


# --- scenes as they are stored ---------------------------------------------------------------


def _stored_scenes(input_path: str, units: str = "auto") -> tuple[MapScenes, ...]:
    """The scenes of each map below `input_path`, which is all that `predict` takes.

    What `predict` refuses unless it is allowed is refused here. Raises InputError where there are
    no scenes or one cannot be used.
    """
    found = find_scenes(input_path, Allow())
    if found.problems:
        raise found.problems[0]
    judged = [judge_units(read_headers(s), units) for s in found.scenes]
    return with_cities(judged)


def _of_run(results: Results, sensor: Sensor) -> Images | None:
    """The scenes of a folder that `predict` wrote, as its run names them; None for other folders.

    Raises RunError where the tracking database does not know the run, and as `_stored_scenes`.
    """
    run_id = results.run_id or _named_run(results)
    if run_id is None:
        return None
    given = tracking.find_run(run_id).data.params
    if "cfg/input_path" not in given:
        return None
    place = given["cfg/input_path"]
    if sensor is not DEFAULT:
        return _images_below(place)
    return _as_stored(_stored_scenes(place, given.get("cfg/units", "auto")))


def _named_run(results: Results) -> str | None:
    try:
        record = InferenceRecord.find(results.folder)
    except InputError:
        return None
    return None if record is None else record.run_id


def _image_headers(scenes: Sequence[Any]) -> Iterator[ImageHeaders]:
    """The headers of images from the air; InputError for one that cannot be used."""
    for headers in stored_images.read_headers(scenes, with_height=False):
        if isinstance(headers, BuiltupError):
            raise headers
        yield headers


def _opened(found: Headers) -> AbstractContextManager[Any]:
    """What reads a scene's bands by windows."""
    if isinstance(found, ImageHeaders):
        return open_image(found, with_height=False)
    if isinstance(found, SceneHeaders):
        return open_power(found)
    raise TypeError(f"no scene of a sensor: {found!r}")


def _read_parts(found: Headers, ground: Grid) -> Iterator[tuple[Array, Grid]]:
    """The bands (B, h, w) of a scene and where it lies, part by part, of what meets `ground`."""
    with _opened(found) as reader:
        for window in aligned(found.grid.width, found.grid.height, PART):
            place = found.grid.window(window.x, window.y, window.width, window.height)
            if _meet(place, ground):
                yield reader.read(window), place


def _meet(one: Grid, other: Grid) -> bool:
    """Whether two grids share ground; without a CRS by their own coordinates."""
    if one.crs and other.crs:
        return shared_ground(one, other) > 0
    if one.crs or other.crs:
        return False
    a, b = one.bounds, other.bounds
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


# --- reading ---------------------------------------------------------------------------------


def chosen_dates(scenes: Sequence[SceneImage]) -> tuple[SceneImage, ...]:
    """At most MOST_DATES of a city's scenes, spread over time."""
    if len(scenes) <= MOST_DATES:
        return tuple(scenes)
    return tuple(scenes[i * (len(scenes) - 1) // (MOST_DATES - 1)] for i in range(MOST_DATES))


def read_image(scenes: Sequence[SceneImage], grid: Grid, sensor: Sensor = DEFAULT) -> Array:
    """The bands that `sensor` reads, (B, H, W) on `grid`: the mean of the scenes, NaN without any.

    Averaged down where `grid` is coarser. Raises InputError where a file cannot be read.
    """
    total = np.zeros((len(sensor.read), *grid.shape), np.float32)
    valid = np.zeros(grid.shape, np.float32)
    for scene in scenes:
        image = np.full(total.shape, np.nan, np.float32)
        for part, place in _sources(scene, grid, sensor):
            _lay(image, part, place, grid)
        known = np.isfinite(image).all(axis=0)
        total += np.where(known, image, 0)
        valid += known
    mean: Array = np.where(valid > 0, total / np.maximum(valid, 1), np.nan).astype(np.float32)
    return mean


def _sources(
    scene: SceneImage, grid: Grid, sensor: Sensor
) -> Iterator[tuple[Array | rasterio.Band, Grid]]:
    """The bands that a scene has on the ground of `grid`, and where they lie."""
    if sensor is DEFAULT:
        for path in scene.paths:
            with open_raster(path) as dataset:
                yield rasterio.band(dataset, list(sensor.read)), Grid.of(dataset)
    else:
        tiles = [image for p in scene.paths for image in stored_images.find_images(str(p)).scenes]
        for headers in _image_headers(tiles):
            yield from _read_parts(headers, grid)
    if scene.stored is not None:
        yield from _read_parts(scene.stored, grid)


def _lay(image: Array, source: Array | rasterio.Band, place: Grid, grid: Grid) -> None:
    """Lay bands that lie at `place` over `image` where they have data."""
    source_crs, own_crs = place.crs or _NO_CRS, grid.crs or _NO_CRS
    left, bottom, right, top = transform_bounds(source_crs, own_crs, *place.bounds)
    west, south, east, north = grid.bounds
    if left >= east or right <= west or bottom >= north or top <= south:
        return
    coarser = max(grid.resolution) > 1.5 * max(place.resolution)
    fresh = np.full_like(image, np.nan)
    reproject(
        source,
        fresh,
        src_transform=place.transform,
        src_crs=source_crs,
        src_nodata=math.nan,
        dst_transform=grid.transform,
        dst_crs=own_crs,
        dst_nodata=math.nan,
        resampling=Resampling.average if coarser else Resampling.bilinear,
        warp_mem_limit=WARP_MB,
    )
    known = np.isfinite(fresh).all(axis=0)
    image[:, known] = fresh[:, known]
