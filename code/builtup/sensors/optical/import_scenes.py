"""Importing data sets of pictures: each scene as layers of one grid, as all later steps read it.

Of a scene `<name>` on the site `<site>`:

    images/<site>/<name>_image.tif    uint8, red, green, blue, alpha (0 no data, 255 data)
    masks/<site>/<name>_mask.tif      uint8, class numbers, 255 ignored
    height/<site>/<name>_height.tif   float32, metres above local ground, NaN unknown

`scenes.csv` lists what was imported, `classes.csv` the classes.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from builtup.errors import BuiltupError, ConfigError, GridError, InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.rasters import gdal_env, open_raster
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.sensors.classes import Classes
from builtup.sensors.optical.elevations import placed
from builtup.sensors.optical.label_colours import classes_table, read_classes
from builtup.sensors.optical.layers import (
    KINDS,
    LABEL_FORMATS,
    REMARKS,
    UNLABELLED,
    SceneWork,
    write_layers,
)
from builtup.sensors.optical.layouts import LAYOUTS
from builtup.sensors.optical.pictures import open_picture
from builtup.sensors.optical.raw_scenes import Found, Layout, RawScene
from builtup.sensors.remarks import Remark, say
from builtup.sensors.scene_files import require_folder

__all__ = ["import_scenes"]

log = logging.getLogger(__name__)

STEP = Step("import_scenes", version=2, spawn_above=20_000_000)
_COLUMNS = ("scene", "site", "split", "date", *KINDS)


def import_scenes(
    *,
    input_path: Path,
    output_path: Path,
    layout: str = "dronedeploy",
    classes: str = "",
    pixel: str = "",
    split: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Bring a data set of pictures, labels and elevations into the form of all later steps.

    `classes` is a CSV file of names and colours (the layout's own by default), `pixel` the side of
    a pixel in metres where pictures do not say it, `split` those that are imported, separated by
    `;` (all by default). Raises InputError, GridError or ConfigError; with `on_error="skip"` scenes
    that cannot be used are listed in the summary.
    """
    known = LAYOUTS.get(layout)
    if known is None:
        raise ConfigError(f"layout={layout}: unknown; choose one of {', '.join(LAYOUTS)}")
    own = _classes(known, layout, classes)
    metres = _metres(pixel)
    found = known.find(require_folder(input_path))
    scenes = _of_split(input_path, found, split)
    jobs: list[Job] = []
    problems: list[BuiltupError] = list(found.problems)
    for scene in scenes:
        try:
            with gdal_env():
                work = _plan(scene, known, own, metres)
            jobs.append(_job(work, output_path))
        except BuiltupError as e:
            problems.append(e)
    summary = run_step(
        STEP, jobs, write_layers, num_workers=num_workers, on_error=on_error, problems=problems
    )
    done = [job for job in jobs if is_done(STEP, job)]
    write_text_atomically(output_path / "classes.csv", classes_table(own))
    write_text_atomically(output_path / "scenes.csv", _scenes_table(done, output_path))
    remarks = _remarks_of(done)
    say([*found.remarks, *remarks])
    with_labels = sum(job.context.scene.labels is not None for job in done)
    if with_labels > 1 and sum(remark.what == UNLABELLED for remark in remarks) == with_labels:
        log.warning(
            "%s: the labels of all scenes are ignored everywhere; check classes", output_path
        )
    _say_left(output_path, {path for job in done for path in job.outputs})
    return summary


def _classes(layout: Layout, name: str, given: str) -> Classes:
    if given:
        return read_classes(Path(given))
    if layout.classes is None:
        raise ConfigError(
            f"classes: layout={name} has no classes of its own; give classes=<file>.csv with "
            "columns name, colour, role"
        )
    return layout.classes


def _metres(pixel: str) -> float | None:
    if not pixel:
        return None
    try:
        metres = float(pixel)
    except ValueError:
        metres = 0.0
    if not 0 < metres < 1000:
        raise ConfigError(f"pixel={pixel}: no size of a pixel; give metres, such as 0.1")
    return metres


def _of_split(root: Path, found: Found, split: str) -> list[RawScene]:
    """The scenes of these splits, all where none is named; no more is said of the others."""
    if not split:
        return found.scenes
    wanted = split.split(";")
    chosen = [scene for scene in found.scenes if scene.split in wanted]
    if missing := sorted({*wanted} - {scene.split for scene in chosen}):
        known = sorted({scene.split for scene in found.scenes} - {""})
        has = f"it has {', '.join(known)}" if known else "it has no list of splits (train.txt, …)"
        problem = f"no scene of the split {', '.join(missing)}: {has}"
        raise InputError(root, problem, "name another, or none")
    names = {scene.name for scene in found.scenes} - {scene.name for scene in chosen}
    found.remarks = [remark for remark in found.remarks if remark.file not in names]
    return chosen


def _plan(scene: RawScene, layout: Layout, classes: Classes, pixel: float | None) -> SceneWork:
    """Look at the headers of a scene's files; raise InputError where they do not fit together."""
    with open_picture(scene.image) as picture:
        grid = picture.grid
    if scene.labels is not None:
        _check_labels(scene.labels, scene.image, grid)
    metres, remarks = _pixel_of(scene, grid, layout, pixel)
    elevation_grid = None
    if scene.elevation is not None:
        elevation_grid, more = placed(scene.elevation, scene.image, grid)
        remarks += more
        if metres is None:
            problem = "no CRS, so that nothing says how large a pixel is"
            raise InputError(scene.image, problem, "give pixel=<metres>")
    return SceneWork(scene, grid, classes, layout.first, metres, elevation_grid, tuple(remarks))


def _check_labels(labels: Path, image: Path, grid: Grid) -> None:
    with open_raster(labels, LABEL_FORMATS) as dataset:
        if dataset.shape != grid.shape:
            problem = (
                f"{dataset.width}x{dataset.height} pixels, its picture {image.name} has "
                f"{grid.width}x{grid.height}"
            )
            raise GridError(labels, problem, "give labels on the picture's grid")
        if dataset.dtypes[0] != "uint8" or dataset.count == 2:
            problem = f"{dataset.count} bands of type {dataset.dtypes[0]}"
            raise InputError(labels, problem, "give colours, or class numbers, of 8 bits")
        if dataset.crs and grid.crs and not Grid.of(dataset).matches(grid, SAME_CITY_TOLERANCE):
            problem = f"lies elsewhere than its picture {image.name}"
            raise GridError(labels, problem, "give labels on the picture's grid")


def _pixel_of(
    scene: RawScene, grid: Grid, layout: Layout, pixel: float | None
) -> tuple[float | None, list[Remark]]:
    """Metres of a pixel's side, and what is said of where that is from; None: nothing says it."""
    if grid.crs:
        across, down = grid.metres_per_pixel
        return (across + down) / 2, []
    if pixel is not None:
        return pixel, []
    if not grid.transform.is_identity:
        metres, by = sum(grid.resolution) / 2, "its transform"
    elif layout.metres is not None:
        metres, by = layout.metres, "the layout"
    else:
        return None, []
    what = f"no CRS: pixels of {metres:g} m, as {by} has it (pixel=<metres> says otherwise)"
    return metres, [Remark(scene.image.name, what, doubtful=False)]


def _job(work: SceneWork, output: Path) -> Job:
    scene, place = work.scene, work.elevation_grid
    kinds = {
        "image": scene.image,
        **({"mask": scene.labels} if scene.labels else {}),
        **({"height": scene.elevation} if scene.elevation else {}),
    }
    return Job(
        name=scene.name,
        inputs=tuple(kinds.values()),
        outputs=tuple(_output(output, scene, kind) for kind in kinds),
        settings={
            "classes": classes_table(work.classes) if scene.labels else "",
            "first": work.first,
            "metres": work.metres,
            "kinds": list(kinds),
            "elevation": None if place is None else [*place.transform[:6], str(place.crs)],
        },
        pixels=work.grid.pixels,
        context=work,
    )


def _output(folder: Path, scene: RawScene, kind: str) -> Path:
    return folder / KINDS[kind] / scene.site / f"{scene.name}_{kind}.tif"


def _scenes_table(jobs: Sequence[Job], output: Path) -> str:
    """The text of scenes.csv: paths relative to it, empty where a layer is not there."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for job in jobs:
        scene: RawScene = job.context.scene
        paths = [_output(output, scene, kind) for kind in KINDS]
        there = [p.relative_to(output).as_posix() if p in job.outputs else "" for p in paths]
        table.writerow([scene.name, scene.site, scene.split, scene.date, *there])
    return text.getvalue()


def _remarks_of(jobs: Sequence[Job]) -> list[Remark]:
    """What the layers say of how they were made, whenever that was."""
    remarks = []
    for path in (path for job in jobs for path in job.outputs):
        with gdal_env(), open_raster(path) as dataset:
            remarks += [Remark(*of) for of in json.loads(dataset.tags().get(REMARKS, "[]"))]
    return remarks


def _say_left(output: Path, made: set[Path]) -> None:
    """Name the layers of earlier imports that belong to none of these scenes."""
    for kind, folder in KINDS.items():
        left = sorted(set((output / folder).glob(f"*/*_{kind}.tif")) - made)
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            log.warning(
                "%s%s: of no scene of this import; it is left as it is, remove it where it is not "
                "wanted",
                *(left[0], more),
            )
