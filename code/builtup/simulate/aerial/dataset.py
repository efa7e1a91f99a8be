"""Writing a data set of simulated orthomosaics in the layout of DroneDeploy's benchmark."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.aerial.flight import city_extent, draw_flight
from builtup.simulate.aerial.surface import CLASSES
from builtup.simulate.aerial.writing import scene_files, write_scene
from builtup.simulate.plan.city import PIXEL, City, CitySpec, draw_city

__all__ = ["GEOREFERENCES", "PIXELS", "Flights", "simulate_flights", "with_clean_labels"]

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
    """The same data set with its clean truth for labels, as links; `folder` is returned."""
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
