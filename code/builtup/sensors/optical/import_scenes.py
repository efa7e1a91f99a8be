"""Importing data sets of pictures: each scene as layers of one grid, as all later steps read it.

Of a scene `<name>` on the site `<site>`:

    images/<site>/<name>_image.tif    uint8, red, green, blue (or near infrared, red,
                                      green), alpha (0 no data, 255 data)
    masks/<site>/<name>_mask.tif      uint8, class numbers, 255 ignored
    soft/<site>/<name>_soft.tif       uint8, v/254 is the mapped class's probability, 255 unknown
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

from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, ConfigError, GridError, InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.locations import Allow, check_allow
from builtup.geo.rasters import gdal_env, open_raster
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.sensors.classes import Classes
from builtup.sensors.optical.cameras import RGB
from builtup.sensors.optical.elevations import placed
from builtup.sensors.optical.label_colours import classes_table, read_classes
from builtup.sensors.optical.label_layers import LABEL_FORMATS, UNLABELLED, with_soft
from builtup.sensors.optical.layers import write_layers
from builtup.sensors.optical.layouts import LAYOUTS
from builtup.sensors.optical.pictures import open_picture
from builtup.sensors.optical.raw_scenes import (
    PICTURE,
    PIXELS,
    POLYGONS,
    SOFT,
    SPLITS,
    Found,
    Layout,
    RawScene,
    refuse_twins,
)
from builtup.sensors.optical.scene_work import KINDS, REMARKS, SceneWork
from builtup.sensors.remarks import Remark, say
from builtup.sensors.scene_files import require_folder

__all__ = ["import_scenes"]

log = logging.getLogger(__name__)

STEP = Step("import_scenes", version=3, spawn_above=20_000_000)
_COLUMNS = ("scene", "site", "split", "role", "date", *KINDS)


def import_scenes(
    *,
    input_path: Path,
    output_path: Path,
    layout: str = "dronedeploy",
    classes: str = "",
    pixel: str = "",
    split: str = "",
    allow: str = "",
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Bring a data set of pictures, labels and elevations into the form of all later steps.

    `classes` is a CSV file of names and colours (the layout's own by default), `pixel` the side of
    a pixel in metres where pictures do not say it, `split` those that are imported, separated by
    `;` (all by default), `allow` prefixes of where links, of a catalogue or of the file system, may
    lead out of the folder, separated by `;`. Raises InputError, GridError or ConfigError; with
    `on_error="skip"` scenes that cannot be used are listed in the summary.
    """
    known = LAYOUTS.get(layout)
    if known is None:
        raise ConfigError(f"layout={layout}: unknown; choose one of {', '.join(LAYOUTS)}")
    metres = _metres(pixel)
    allowed = Allow.parse(allow)
    check_allow(allowed)
    given = read_classes(Path(classes)) if classes else None
    found = known.find(require_folder(input_path), allowed)
    own = _classes(given, known, layout, found)
    if split:
        _take_split(input_path, found, split)
    refuse_twins(found)
    jobs: list[Job] = []
    problems: list[BuiltupError] = list(found.problems)
    for scene in found.scenes:
        try:
            _require_inside(scene, input_path, allowed)
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
    say([*found.remarks, *_without_alpha(jobs), *remarks])
    with_labels = sum(job.context.scene.labelled for job in done)
    if with_labels > 1 and sum(remark.what == UNLABELLED for remark in remarks) == with_labels:
        log.warning(
            "%s: the labels of all scenes are ignored everywhere; check classes", output_path
        )
    _say_left(output_path, {path for job in done for path in job.outputs})
    return summary


def _classes(given: Classes | None, layout: Layout, name: str, found: Found) -> Classes:
    """The classes of the labels; ConfigError where nobody says them, or labels are of two."""
    classes = given or layout.classes or found.classes
    if classes is None:
        raise ConfigError(
            f"classes: layout={name} has no classes of its own; give classes=<file>.csv with "
            "columns name, colour, role"
        )
    of_two = any(scene.labels_are != PICTURE for scene in found.scenes)
    if of_two and not classes.by_threshold:
        raise ConfigError(
            f"classes: {len(classes)} of them, and labels that are polygons or probabilities are "
            "of two; leave classes out, or name two"
        )
    return classes


def _without_alpha(jobs: Sequence[Job]) -> list[Remark]:
    """The pictures that have no alpha beside others that have one."""
    works = [job.context for job in jobs]
    without = [work for work in works if work.alpha_from == "black"]
    if len(without) == len(works):
        return []
    what = "no alpha, as others here have: black at its border is taken for no data"
    return [Remark(work.scene.image.name, what) for work in without]


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


def _take_split(root: Path, found: Found, split: str) -> None:
    """Leave the scenes of these splits; no more is said of the others, nor what is wrong in
    folders of theirs."""
    wanted = split.split(";")
    chosen = [scene for scene in found.scenes if scene.split in wanted]
    if all((root / name).is_dir() for name in wanted):
        splits = {scene.split for scene in found.scenes}
        others = [  # not each folder: one of labels may be of the scenes that are wanted
            at
            for at in root.iterdir()
            if at.name not in wanted and (at.name in splits or at.name.partition("_")[0] in SPLITS)
        ]
        found.problems = [
            e for e in found.problems if not any(Path(e.path).is_relative_to(at) for at in others)
        ]
        if not chosen and found.problems:
            raise found.problems[0]
    if missing := sorted({*wanted} - {scene.split for scene in chosen}):
        known = sorted({scene.split for scene in found.scenes} - {""})
        has = f"it has {', '.join(known)}" if known else "it has no list of splits (train.txt, …)"
        problem = f"no scene of the split {', '.join(missing)}: {has}"
        raise InputError(root, problem, "name another, or none")
    names = {scene.name for scene in found.scenes} - {scene.name for scene in chosen}
    found.remarks = [remark for remark in found.remarks if remark.file not in names]
    found.scenes = chosen


def _require_inside(scene: RawScene, root: Path, allowed: Allow) -> None:
    """InputError for a file of a scene that a link takes out of the folder, unless that is
    allowed."""
    for path in filter(None, (scene.image, scene.labels, scene.elevation)):
        place = path.resolve()
        if not place.is_relative_to(root.resolve()) and not allowed.covers(str(place)):
            remedy = "add its folder to allow of import_scenes, if you trust it"
            raise InputError(path, f"leads to {place}, outside {root}", remedy)


def _plan(scene: RawScene, layout: Layout, classes: Classes, pixel: float | None) -> SceneWork:
    """Look at the headers of a scene's files; raise InputError where they do not fit together."""
    with open_picture(scene.image) as picture:
        grid, alpha_from = picture.grid, picture.alpha_from
    if scene.labels is not None:
        _check_labels(scene, scene.labels, grid)
    metres, remarks = _pixel_of(scene, grid, layout, pixel)
    elevation_grid = None
    if scene.elevation is not None:
        elevation_grid, more = placed(scene.elevation, scene.image, grid)
        remarks += more
        if metres is None:
            problem = "no CRS, so that nothing says how large a pixel is"
            raise InputError(scene.image, problem, "give pixel=<metres>")
    first, said = layout.first, tuple(remarks)
    return SceneWork(scene, grid, classes, first, metres, elevation_grid, said, alpha_from)


def _check_labels(scene: RawScene, labels: Path, grid: Grid) -> None:
    image = scene.image
    if scene.labels_are in {POLYGONS, PIXELS}:
        if not labels.is_file():
            raise InputError(labels, "no such file", "check the path")
        if scene.labels_are == POLYGONS and not grid.crs:
            problem = "no CRS, so that nothing says where its polygons lie"
            raise InputError(image, problem, "give the picture its place (gdal_edit -a_srs)")
        return
    with open_raster(labels, LABEL_FORMATS) as dataset:
        if dataset.shape != grid.shape:
            problem = (
                f"{dataset.width}x{dataset.height} pixels, its picture {image.name} has "
                f"{grid.width}x{grid.height}"
            )
            raise GridError(labels, problem, "give labels on the picture's grid")
        if scene.labels_are == SOFT:
            _check_probability(labels, dataset)
        if dataset.dtypes[0] != "uint8" or dataset.count == 2:
            problem = f"{dataset.count} bands of type {dataset.dtypes[0]}"
            raise InputError(labels, problem, "give colours, or class numbers, of 8 bits")
        if dataset.crs and grid.crs and not Grid.of(dataset).matches(grid, SAME_CITY_TOLERANCE):
            problem = f"lies elsewhere than its picture {image.name}"
            raise GridError(labels, problem, "give labels on the picture's grid")


def _check_probability(path: Path, dataset: DatasetReader) -> None:
    bits = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", "8")
    palette = dataset.colorinterp[0] == ColorInterp.palette
    if dataset.count != 1 or dataset.dtypes[0] != "uint8" or palette or bits != "8":
        kind = "a palette" if palette else f"{dataset.count} bands of type {dataset.dtypes[0]}"
        kind = f"{bits} bit" if bits != "8" else kind
        problem = f"{kind}: no probability of 0 to 255"
        raise InputError(path, problem, "write one band of 8 bits, 0 for no and 255 for yes")


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
    own = {
        "image": True,
        "mask": scene.labelled,
        "soft": scene.labelled and with_soft(scene.labels_are),
        "height": scene.elevation is not None,
    }
    kinds = [kind for kind in KINDS if own[kind]]
    files = (scene.image, scene.labels, scene.elevation)
    labels = {"labels": scene.labels_are, "complete": scene.complete}
    return Job(
        name=scene.name,
        inputs=tuple(path for path in files if path is not None),
        outputs=tuple(_output(output, scene, kind) for kind in kinds),
        settings={
            "classes": classes_table(work.classes) if scene.labelled else "",
            "first": work.first,
            "metres": work.metres,
            "kinds": kinds,
            **({"sensor": scene.sensor.name} if scene.sensor != RGB else {}),
            **(labels if scene.labels_are != PICTURE else {}),
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
        table.writerow([scene.name, scene.site, scene.split, scene.role, scene.date, *there])
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
