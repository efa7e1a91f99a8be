"""Writing a data set of simulated towns: Sentinel-1 in the UNOSAT layout, or orthomosaics."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, InputError
from builtup.jobs.files import atomic_directory
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.sensors.scene_files import SIMULATED
from builtup.simulate.aerial.dataset import Flights, footprint_parts, simulate_flights
from builtup.simulate.plan import labels as truth
from builtup.simulate.plan.buildings import footprint_files
from builtup.simulate.plan.city import MAX_CITIES, PIXEL, City, CitySpec, draw_city
from builtup.simulate.plan.style import SHIFTS, VARIETIES
from builtup.simulate.radar.acquisition import MAX_DATES, draw_acquisition, draw_pass
from builtup.simulate.radar.imaging import scene_files, write_scene

__all__ = ["LABELS", "SENSORS", "simulate"]

log = logging.getLogger(__name__)

STEP = Step("simulate", 2)
LABELS = ("builtup", "footprints")
SENSORS = ("sentinel1", "aerial")
#: Metres of a pixel of orthomosaics, where none are given.
AERIAL_PIXEL = 0.25
#: The cities in turn of each variety.
MIXED = "mixed"
#: A UTM zone holds no more (pixels of 10 m).
MAX_SIZE = 24_576


def simulate(
    *,
    output_path: Path,
    cities: int = 6,
    test_cities: int = 3,
    dates: int = 2,
    size: int = 1024,
    seed: int = 0,
    footprints: str = "",
    labels: str = "builtup",
    variety: str = "plain",
    shift: str = "",
    num_workers: int = 2,
    sensor: str = "sentinel1",
    pixel: str = "",
    georeference: str = "utm",
) -> Summary:
    """Write simulated cities, `size` pixels along a side, with polygons.

    With `sensor="sentinel1"` (pixels of 10 m)
    `<output_path>/{train,test}/<City>_<year>/<product>/<TILE>/s1a_….tif` holds linear σ⁰ of one
    polarisation, float32, 0 = no-data, with a BorderMask (1 valid) beside it;
    `<City>_<year>/<TILE>_<City>.shp` the built-up area (`labels="builtup"`: footprints grown by
    one pixel and closed) or the footprints. `footprints` names a file, or a folder of files, of
    building polygons that take the place of the street plan.

    `sensor="aerial"` writes orthomosaics in DroneDeploy's layout (aerial/dataset.py): `dates`
    scenes a city, each above ground of its own, pixels of `pixel` metres (0.25), with a CRS or
    `georeference="none"`.

    `variety="wide"` draws towns, land, seasons and sensors from far wider ranges than `plain`;
    `mixed` does so for every second city.
    `shift` makes all cities of the call of a kind that plain ones never are: `style` (other
    street plans and densities), `climate` (dry or wet land cover), `season` (frozen, wet snow,
    high crops), `sensor` (other incidence, looks, noise, gain); so another kind of test city is a
    call of its own with `cities=0`.

    A city follows from the seed, its split and number, not from how many there are. Raises
    InputError for footprints that cannot be used and folders that would be overwritten.
    """
    _check(cities, test_cities, dates, size)
    _known(
        sensor=(sensor, SENSORS),
        labels=(labels, LABELS),
        variety=(variety, (*VARIETIES, MIXED)),
        shift=(shift, ("", *SHIFTS)),
    )
    files = footprint_files(Path(footprints)) if footprints else ()
    wanted = [("train", number) for number in range(cities)]
    wanted += [("test", number) for number in range(test_cities)]
    specs = tuple(
        CitySpec(seed, *one, size, files, _variety(variety, one[1]), shift) for one in wanted
    )
    if sensor == "aerial":
        if labels != LABELS[0]:
            raise BuiltupError(f"labels={labels}: orthomosaics have classes; leave labels out")
        flights = Flights(specs, dates, size, _metres(pixel, AERIAL_PIXEL), georeference)
        return simulate_flights(Path(output_path), flights, num_workers)
    if _metres(pixel, PIXEL) != PIXEL or georeference != "utm":
        raise BuiltupError(
            f"pixel={pixel}, georeference={georeference}: options of sensor=aerial; Sentinel-1 has "
            "pixels of 10 m in UTM"
        )
    jobs = [_job(spec, Path(output_path), dates, labels) for spec in specs]
    for job in jobs:
        folder = job.context[1]
        if folder.exists() and not (folder / SIMULATED).exists():
            raise InputError(folder, "exists and is not simulated", "choose another output_path")
    _warn_of_others(Path(output_path), {job.context[1] for job in jobs})
    return run_step(STEP, jobs, _write_city, num_workers=num_workers, noun="cities")


def _known(**given: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in given.items():
        if value not in known:
            choice = ", ".join(filter(None, known))
            raise BuiltupError(f"{name}={value}: unknown value; use one of {choice}")


def _metres(pixel: str, default: float) -> float:
    """A pixel's side from what was given as text."""
    try:
        return float(pixel) if pixel else default
    except ValueError:
        raise BuiltupError(f"pixel={pixel}: no number; give metres, such as 0.25") from None


def _variety(given: str, number: int) -> str:
    """That of a city by its number."""
    return VARIETIES[number % len(VARIETIES)] if given == MIXED else given


def _check(cities: int, test_cities: int, dates: int, size: int) -> None:
    bounds = {
        "cities": (cities, 0, MAX_CITIES),
        "test_cities": (test_cities, 0, MAX_CITIES),
        "dates": (dates, 1, MAX_DATES),
        "size": (size, 64, MAX_SIZE),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise BuiltupError(f"{name}={value}: out of range; use {low} to {high}")


def _job(spec: CitySpec, output_path: Path, dates: int, labels: str) -> Job:
    folder = output_path / spec.split / spec.folder
    settings: dict[str, Any] = {
        "seed": spec.seed,
        "split": spec.split,
        "number": spec.number,
        "size": spec.size,
        "dates": dates,
        "labels": labels,
    }
    if spec.variety != "plain":  # settings of folders from before these options stay as they were
        settings["variety"] = spec.variety
    if spec.shift:
        settings["shift"] = spec.shift
    outputs = tuple(folder / name for name in _outputs(spec, dates))
    inputs = tuple(part for file in spec.footprints for part in footprint_parts(file))
    return Job(
        spec.folder, inputs, outputs, settings, spec.size**2 * dates, (spec, folder, dates, labels)
    )


def _outputs(spec: CitySpec, dates: int) -> list[Path]:
    """Every file of a city, relative to its folder; the shapefile first."""
    stem = f"{spec.tile}_{spec.name}"
    found = [Path(stem + suffix) for suffix in (".shp", ".shx", ".dbf", ".prj")]
    for number in range(dates):
        for files in scene_files(spec, draw_pass(spec, number)):
            found += files
    return [*found, Path(SIMULATED)]


def _warn_of_others(output_path: Path, wanted: set[Path]) -> None:
    """Cities of an earlier, larger run stay; say so."""
    others = [
        marker.parent.name
        for marker in sorted(output_path.glob(f"*/*/{SIMULATED}"))
        if marker.parent not in wanted
    ]
    if others:
        log.warning(
            "%s: also holds simulated cities of an earlier run: %s; remove them if unwanted",
            output_path,
            ", ".join(others),
        )


def _write_city(job: Job) -> dict[str, int]:
    spec, folder, dates, labels = job.context
    city = draw_city(spec)
    with atomic_directory(folder) as temporary:
        polygons = _write_labels(city, labels, temporary)
        for number in range(dates):
            write_scene(city, draw_acquisition(city, number), temporary)
        about = {"settings": dict(job.settings), "buildings": len(city.buildings)}
        (temporary / SIMULATED).write_text(json.dumps(about, indent=1) + "\n")
    return {"scenes": dates, "polygons": polygons}


def _write_labels(city: City, labels: str, folder: Path) -> int:
    spec = city.spec
    if labels == "footprints":
        polygons = truth.footprint_polygons(city.buildings, spec.size)
    else:
        polygons = truth.builtup_polygons(truth.builtup_mask(city.buildings, spec.size))
    path = folder / f"{spec.tile}_{spec.name}.shp"
    truth.write_polygons(path, polygons, spec.epsg, spec.corner)
    return len(polygons)
