"""Writing a data set of simulated orthomosaics in the layout of DroneDeploy's benchmark.

Of each scene image, surface model, labels and truth are written block by block.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter

from builtup.errors import BuiltupError, InputError
from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.sensors.optical.layouts import dronedeploy
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.aerial.flight import Flight, city_extent, draw_flight
from builtup.simulate.aerial.imaging import BLOCK, NO_HEIGHT, Scene, elevation_step
from builtup.simulate.aerial.surface import CLASSES
from builtup.simulate.plan.city import PIXEL, City, CitySpec, draw_city

__all__ = [
    "COLOURS",
    "GEOREFERENCES",
    "PIXELS",
    "Flights",
    "scene_files",
    "simulate_flights",
    "with_clean_labels",
    "write_scene",
]

log = logging.getLogger(__name__)

STEP = Step("simulate", 2)
#: Pixels in metres that are drawn.
PIXELS = (0.05, 1.0)
GEOREFERENCES = ("utm", "none")
#: One in so many training cities validates.
VALIDATES = 4


@dataclass(frozen=True)
class Flights:
    """What is asked for: cities by split and number, `scenes` of each, `size` pixels a side."""

    cities: tuple[CitySpec, ...]
    scenes: int
    size: int
    pixel: float
    georeference: str

    def check(self) -> None:
        """Raise BuiltupError for a pixel or georeference that cannot be had."""
        low, high = PIXELS
        if not low <= self.pixel <= high:
            raise BuiltupError(f"pixel={self.pixel:g}: out of range; use {low:g} to {high:g} (m)")
        if self.georeference not in GEOREFERENCES:
            choice = ", ".join(GEOREFERENCES)
            raise BuiltupError(
                f"georeference={self.georeference}: unknown value; use one of {choice}"
            )


def simulate_flights(output_path: Path, flights: Flights, num_workers: int) -> Summary:
    """Write `images/<scene>-ortho.tif` (red, green, blue, alpha), `elevations/<scene>-elev.tif`,
    `labels/<scene>-label.png`, `truth/<scene>-label.png`, index.csv and the lists of the splits.

    Every city gives `scenes` scenes, `<City>_<number>`, that do not touch. A scene follows from the
    seed, its city and number. Raises InputError for a folder that holds something else.
    """
    flights.check()
    marker = output_path / SIMULATED
    for name in ("index.csv", "images", "labels", "elevations"):
        if (output_path / name).exists() and not marker.exists():
            raise InputError(
                output_path / name, "exists and is not simulated", "choose another output_path"
            )
    jobs = [
        _job(spec, number, flights, output_path)
        for spec in flights.cities
        for number in range(flights.scenes)
    ]
    if not marker.exists():
        write_text_atomically(marker, json.dumps({"sensor": "aerial"}) + "\n")
    _warn_of_others(output_path, {job.name for job in jobs})
    summary = run_step(STEP, jobs, _write, num_workers=num_workers, noun="scenes")
    _write_lists(output_path, flights)
    return summary


def with_clean_labels(raw: Path, folder: Path) -> Path:
    """The same data set with its clean truth for labels, as links (which `import_scenes` wants to
    be allowed); `folder` is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {path.name: path for path in raw.iterdir() if path.name not in ("labels", "truth")}
    for name, source in {**sources, "labels": raw / "truth"}.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(source.resolve())
    return folder


def _job(spec: CitySpec, number: int, flights: Flights, output_path: Path) -> Job:
    name = _name(spec, number)
    settings: dict[str, object] = {
        "seed": spec.seed,
        "split": spec.split,
        "city": spec.number,
        "number": number,
        "size": flights.size,
        "pixel": flights.pixel,
        "georeference": flights.georeference,
        "variety": spec.variety,
        "shift": spec.shift,
    }
    outputs = tuple(output_path / path for path in scene_files(name).values())
    inputs = tuple(part for file in spec.footprints for part in footprint_parts(file))
    context = (spec, number, flights, output_path)
    return Job(name, inputs, outputs, settings, flights.size**2, context)


def footprint_parts(file: Path) -> list[Path]:
    """A vector file and what belongs to it."""
    suffixes = dict.fromkeys((file.suffix, ".shx", ".dbf", ".prj"))
    return [part for suffix in suffixes if (part := file.with_suffix(suffix)).exists()]


def _name(spec: CitySpec, number: int) -> str:
    return f"{spec.name}_{number}"


def _around(spec: CitySpec, size: int, pixel: float) -> CitySpec:
    """The city around scenes of `size` pixels."""
    extent = city_extent(size * pixel, bool(spec.footprints))
    return replace(spec, size=int(extent / PIXEL))


@lru_cache(maxsize=1)
def _city(spec: CitySpec) -> City:
    """Scenes of a city follow on each other: it is drawn once."""
    return draw_city(spec)


def _write(job: Job) -> dict[str, int]:
    spec, number, flights, output_path = job.context
    city = _city(_around(spec, flights.size, flights.pixel))
    flight = draw_flight(city, number, flights.size, flights.pixel)
    write_scene(
        flight,
        job.name,
        output_path,
        georeferenced=flights.georeference == "utm",
        about={"settings": dict(job.settings)},
    )
    return {}


def _warn_of_others(output_path: Path, wanted: set[str]) -> None:
    others = sorted(path.stem for path in (output_path / "truth").glob("*.json"))
    if others := [name for name in others if name not in wanted]:
        log.warning(
            "%s: also holds simulated scenes of an earlier run: %s; remove them if unwanted",
            output_path,
            ", ".join(others),
        )


def _write_lists(output_path: Path, flights: Flights) -> None:
    """index.csv, and a list of scenes a split; whole cities validate."""
    train = sorted({spec.number for spec in flights.cities if spec.split == "train"})
    validating = set(train[len(train) - max(1, len(train) // VALIDATES) :]) if train[1:] else set()
    lists: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    rows = [" ".join(("n", "scene", *CLASSES))]
    for spec in flights.cities:
        held = spec.split == "train" and spec.number in validating
        for number in range(flights.scenes):
            name = _name(spec, number)
            lists["valid" if held else spec.split].append(name)
            about = json.loads((output_path / scene_files(name)["about"]).read_text())
            shares = (f"{about['shares'][c]:.4f}" for c in CLASSES)
            rows.append(" ".join((str(len(rows) - 1), name, *shares)))
    _write_lines(output_path / "index.csv", rows)
    for split, names in lists.items():
        _write_lines(output_path / f"{split}.txt", names)


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_text_atomically(path, "".join(f"{line}\n" for line in lines))


# --- a scene's files ------------------------------------------------------------------------------


#: Colours of the classes in labels, and of what they leave out.
COLOURS, LEFT_OUT = dronedeploy.CLASSES.colours, dronedeploy.CLASSES.ignored[0]
#: Side of the files' tiles.
TILE = 256


def scene_files(name: str) -> dict[str, Path]:
    """The files of a scene by kind, relative to the data set's folder."""
    return {
        "image": Path("images", f"{name}-ortho.tif"),
        "elevation": Path("elevations", f"{name}-elev.tif"),
        "labels": Path("labels", f"{name}-label.png"),
        "truth": Path("truth", f"{name}-label.png"),
        "about": Path("truth", f"{name}.json"),
    }


def write_scene(
    flight: Flight, name: str, folder: Path, *, georeferenced: bool, about: Mapping[str, Any]
) -> None:
    """Write the `scene_files` of a flight; the last one holds what `about` says, and the share of
    each class in the truth."""
    counts = np.zeros(len(CLASSES), np.int64)
    with ExitStack() as stack:
        stack.enter_context(gdal_env())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # the image last, so that it is there once the others are
        final = {
            kind: stack.enter_context(atomic_path(folder / path))
            for kind, path in reversed(scene_files(name).items())
        }
        # named after the file that `atomic_path` gave, so that a later run sweeps a killed one's
        drafts = {kind: Path(f"{final[kind]}.draft.tif") for kind in ("truth", "labels")}
        for draft in drafts.values():
            stack.callback(draft.unlink, missing_ok=True)
        profiles = _profiles(flight, georeferenced)
        with ExitStack() as files:
            out = {
                kind: files.enter_context(create_raster(drafts.get(kind, final[kind]), **profile))
                for kind, profile in profiles.items()
            }
            _write_blocks(flight, out, counts, georeferenced)
        for kind, draft in drafts.items():  # PNG can be written from its top to its bottom only
            rasterio.shutil.copy(draft, final[kind], driver="PNG")
        total = max(1, int(counts.sum()))
        shares = {c: round(n / total, 4) for c, n in zip(CLASSES, counts.tolist(), strict=True)}
        final["about"].write_text(json.dumps({**about, "shares": shares}, indent=1) + "\n")


def _profiles(flight: Flight, georeferenced: bool) -> dict[str, dict[str, Any]]:
    """How each raster is written; without a georeference all have the image's grid, for nothing
    else would say how they lie on each other."""
    size, pixel, spec = flight.size, flight.pixel, flight.city.spec
    step = elevation_step(pixel) if georeferenced else 1
    left, top = spec.corner[0] + flight.corner[0], spec.corner[1] - flight.corner[1]
    tiled = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": "band"}
    square = {**tiled, "width": size, "height": size, "dtype": "uint8"}
    image = {**square, "count": 4, "photometric": "RGB", "alpha": "non-premultiplied"}
    model = {**tiled, "width": -(-size // step), "height": -(-size // step), "dtype": "float32"}
    model |= {"count": 1, "nodata": NO_HEIGHT, "compress": "ZSTD", "zstd_level": 1, "predictor": 3}
    if georeferenced:
        for profile, side in ((image, pixel), (model, pixel * step)):
            profile["crs"] = f"EPSG:{spec.epsg}"
            profile["transform"] = Affine(side, 0, left, 0, -side, top)
    labels = {**square, "count": 3}
    return {"image": image, "elevation": model, "labels": labels, "truth": labels}


def _write_blocks(
    flight: Flight, out: Mapping[str, DatasetWriter], counts: NDArray[np.int64], georeferenced: bool
) -> None:
    """Write all blocks, and count the pixels of each class of the truth."""
    step = elevation_step(flight.pixel)
    colours = np.zeros((256, 3), np.uint8)
    colours[:], colours[: len(COLOURS)] = LEFT_OUT, COLOURS
    scene = Scene(flight)
    for window in aligned(flight.size, flight.size, (BLOCK, BLOCK)):
        picture = scene.picture(window)
        out["image"].write(picture.image, window=window.rasterio)
        out["truth"].write(colours[picture.truth].transpose(2, 0, 1), window=window.rasterio)
        out["labels"].write(colours[picture.labels].transpose(2, 0, 1), window=window.rasterio)
        model = picture.elevation
        if georeferenced:
            place = Window(window.y // step, window.x // step, *model.shape)
        else:
            place = window
            model = np.repeat(np.repeat(model, step, 0), step, 1)
            model = model[: window.height, : window.width]
        out["elevation"].write(model, 1, window=place.rasterio)
        known = picture.truth[picture.truth < len(CLASSES)]
        counts += np.bincount(known, minlength=len(CLASSES))
