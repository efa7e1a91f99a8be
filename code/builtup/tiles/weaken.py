"""Weakening a data set: pixel labels of a few scenes, tags of many, and some to validate on.

    N1           pixel labels as they are
    N2           tags of the cells of a fixed grid, in tiles that show them with their surroundings
    validation   pixel labels as they are, held out as the fold `validation`

The masks of N2 in the folder that is made are 255 everywhere: whatever reads it, statistics and
samplers too, knows the pixels of N1 alone. Tags are counted once, of the cells, so that no crop
says where in its cell a class lies; or they are given, by hand or by a coarse settlement layer.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from builtup.errors import ConfigError, InputError
from builtup.geo.cell_means import cell_means
from builtup.geo.probability import IGNORE
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import MANIFESTS, Job, Step, Summary, run_step
from builtup.sensors.classes import BUILT_UP, Classes
from builtup.sensors.radar.names import plain_id
from builtup.tiles.cut import write_list
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.tags import TAGS_CSV, CellTags, read_tags, write_tags
from builtup.tiles.tile import TILES_CSV, Tile, by_scene, read_list, scene_grid, tile_tags
from builtup.tiles.weak_scene import (
    HEIGHT,
    IMAGES,
    MASKS,
    Counts,
    Layers,
    WeakScene,
    count_job,
    count_scene,
    hide_job,
    hide_scene,
    read_counts,
    shown_tiles,
    weak_scene,
)
from builtup.tiles.weak_split import N1, N2, UNLABELLED, VALIDATION, percentages, split_scenes

__all__ = ["PRESENCE", "SHARES", "weaken"]

log = logging.getLogger(__name__)

#: Pixels are counted before anything is hidden: what is refused leaves no masks behind.
COUNT, STEP = Step("weaken_counts", 1), Step("weaken", 3)
#: What tags are counted as: 1 and 0, or the share of each class.
PRESENCE, SHARES = "presence", "shares"
SPLIT_CSV = "split.csv"
#: Cells along a side of a tile, whose numbers are those of 8 bits below 255.
MOST = math.isqrt(IGNORE)


def weaken(
    *,
    input_path: Path,
    output_path: Path,
    tags: str = PRESENCE,
    full: float = 1.0,
    cell: int = 200,
    block: int = 1,
    context: int = 28,
    least_share: float = 0.0,
    shares: str = "10;70;20",
    seed: int = 0,
    num_workers: int = 2,
    on_error: str = "stop",
) -> Summary:
    """Make a folder of tiles of which N1 has pixel labels, N2 tags, and the rest is to validate.

    `shares` are the percentages of N1, N2 and validation (`split_scenes`). The cells of N2 are
    squares of `cell` pixels from the scene's upper left pixel, `block` by `block` of them in a tile
    that shows them with `context` pixels around; near an edge of the scene it is as large, and
    shows more on the other side. `tags` is "presence" (1 where more than `least_share` of the
    labelled pixels are of a class, else 0), "shares", a list of cells (`builtup.tiles.tags`) or a
    coarse raster of the mapped class, 0 to `full`. Unscored classes have none. Scenes without masks
    are of N2. Writes the layers' lists, tags.csv, split.csv, and the statistics of
    `generate_tiles_stats` with the folds of split.csv. Raises InputError or ConfigError where N1 is
    empty, tags name what is not there, or a class has tags and no pixel of N1.
    """
    percent = percentages(shares)
    if cell < 1 or context < 0 or not 0 <= least_share < 1 or not 0 < full < math.inf:
        raise ConfigError(
            f"cell={cell}, context={context}, least_share={least_share:g}, full={full:g}: expected "
            "a cell of 1 pixel or more, a context of 0 or more, a share from 0 to below 1, and a "
            "value above 0"
        )
    if not 1 <= block <= MOST:
        raise ConfigError(
            f"block={block}: expected 1 to {MOST} cells along a side of a tile: their numbers are "
            "8 bits"
        )
    if least_share and tags != PRESENCE:
        raise ConfigError(
            f"least_share={least_share:g}: has no meaning for tags={tags}; leave it out"
        )
    if full != 1 and not _is_raster(tags):
        raise ConfigError(
            f"full={full:g}: has no meaning for tags={tags}, which is no raster; leave it out"
        )
    if output_path.resolve() == input_path.resolve():
        remedy = "give output_path another folder, such as input/weak_tiles"
        raise InputError(output_path, "is input_path, whose pixel labels would be hidden", remedy)
    scenes = _scenes(input_path)
    classes, mask_tags = _classes(scenes)
    given = _given(tags, classes, scenes, cell)
    roles = split_scenes(
        {scene: _ground(scene, of[IMAGES]) for scene, of in scenes.items()},
        {scene for scene, of in scenes.items() if of[MASKS]},
        percent,
        seed,
        input_path,
    )
    works = {
        scene: weak_scene(
            layers,
            weak=roles[scene] in {N2, UNLABELLED},
            cell=cell,
            block=block,
            context=context,
            classes=classes,
            tags=mask_tags,
        )
        for scene, layers in scenes.items()
    }
    jobs = [count_job(scene, of, output_path, cell) for scene, of in works.items()]
    summary = run_step(COUNT, jobs, count_scene, num_workers=num_workers, on_error=on_error)
    if summary.skipped:
        raise summary.skipped[0]  # a scene less is another split
    counts = {job.name: read_counts(job) for job in jobs}
    known: dict[str, list[CellTags]] = {}
    for job in jobs:
        needed = roles[job.name] == N2  # elsewhere tags are only held to the pixels
        own = _tags_of(job, counts[job.name], given, tags, full, cell, least_share, classes, needed)
        known[job.name] = own
    if given is not None or _is_raster(tags):
        _say_contradictions(tags, jobs, known, counts, classes)
    weak = {name: own for name, own in known.items() if roles[name] == N2}
    if weak and not any(
        math.isfinite(tag) for own in weak.values() for of in own for tag in of.tags
    ):
        problem = f"no tag of a cell of N2 ({', '.join(sorted(map(plain_id, weak))[:3])}, …)"
        remedy = "tag cells of these scenes, or give N2 a share of 0"
        raise InputError(Path(tags) if Path(tags).suffix else input_path, problem, remedy)
    _require_taught(input_path, roles, counts, weak, classes)
    # all that is to be refused has been: from here on the folder changes
    hidden = [hide_job(scene, of, output_path) for scene, of in works.items() if of.shown]
    written = run_step(STEP, hidden, hide_scene, num_workers=num_workers, on_error=on_error)
    if written.skipped:
        raise written.skipped[0]
    _write(output_path, works, {job.name: job for job in hidden}, roles, weak, classes)
    _remove_others(output_path, hidden)
    generate_tiles_stats(
        input_path=output_path,
        output_path=output_path,
        folds=str(output_path / SPLIT_CSV),
        num_workers=num_workers,
        on_error=on_error,
    )
    of_role = {
        role: sum(r == role for r in roles.values()) for role in dict.fromkeys(roles.values())
    }
    log.info(
        "%s: scenes: %s (N1 learns from pixels, N2 from tags)",
        *(output_path, ", ".join(f"{count} {role}" for role, count in sorted(of_role.items()))),
    )
    return _together(summary, written)


def _together(counted: Summary, written: Summary) -> Summary:
    """What both steps did, as that of one: all scenes are counted, some written."""
    done = max(counted.done, written.done)
    return replace(
        written,
        done=done,
        up_to_date=counted.done + counted.up_to_date - done,
        pixels=max(counted.pixels, written.pixels),
        seconds=counted.seconds + written.seconds,
    )


def _ground(scene: str, images: Sequence[Tile]) -> str:
    """What has one role: a site on the map, whose scenes may show the same; else a scene."""
    return images[0].city if scene_grid(images).crs else scene


def _scenes(folder: Path) -> dict[str, Layers]:
    """The tiles of each scene by layer; no masks or heights where it has none."""
    images = by_scene(read_list(folder / IMAGES / TILES_CSV))
    lists = {IMAGES: images, MASKS: {}, HEIGHT: {}}
    for layer in (MASKS, HEIGHT):
        if layer == MASKS or (folder / layer / TILES_CSV).is_file():
            lists[layer] = by_scene(read_list(folder / layer / TILES_CSV))
    return {
        scene: {layer: tuple(of.get(scene, ())) for layer, of in lists.items()}
        for scene in sorted(images)
    }


def _classes(
    scenes: Mapping[str, Layers],
) -> tuple[Classes, dict[str, str]]:
    """The classes that masks name, and the tags by which they do."""
    masks = [of[MASKS][0] for of in scenes.values() if of[MASKS]]
    own = tile_tags(masks[0]) if masks else {}
    named = Classes.of_tags(own)
    return named or BUILT_UP, named.tags() if named else {}


# --- tags -----------------------------------------------------------------------------------------


def _is_raster(tags: str) -> bool:
    return tags.lower().endswith((".tif", ".tiff"))


def _given(
    tags: str, classes: Classes, scenes: Mapping[str, Layers], cell: int
) -> dict[tuple[str, int, int], CellTags] | None:
    """The cells of a list, by scene and place; None where tags are no list."""
    if tags in {PRESENCE, SHARES} or _is_raster(tags):
        return None
    if not tags.lower().endswith(".csv"):
        raise ConfigError(f"tags={tags}: expected presence, shares, a list .csv or a raster .tif")
    path = Path(tags)
    cells = read_tags(path, classes.names, classes.unscored)
    sizes = {plain_id(scene): scene_grid(layers[IMAGES]) for scene, layers in scenes.items()}
    for of in cells:
        grid, x, y = sizes.get(of.scene), of.window.x, of.window.y
        if grid is None:
            remedy = f"use the scenes' names, such as {next(iter(sizes))}"
            raise InputError(path, f"the scene {of.scene} is not among the tiles", remedy)
        if x % cell or y % cell or x >= grid.width or y >= grid.height:
            raise InputError(
                path,
                f"the cell at {x}, {y} of {of.scene} is off the grid of {cell} pixels",
                f"write the upper left pixels of cells within {grid.width} x {grid.height}, or "
                "give cell their side",
            )
        own = (min(cell, grid.height - y), min(cell, grid.width - x))
        said = (of.window.height, of.window.width)
        if said not in {(1, 1), own}:  # a list by hand need not say it
            raise InputError(
                path,
                f"the cell at {x}, {y} of {of.scene} is {said[1]} x {said[0]} pixels, and cells of "
                f"{cell} are {own[1]} x {own[0]} there",
                "give cell their side, or leave out the columns width and height",
            )
    return {(of.scene, of.window.x, of.window.y): of for of in cells}


def _tags_of(
    job: Job,
    counts: Counts,
    given: Mapping[tuple[str, int, int], CellTags] | None,
    tags: str,
    full: float,
    cell: int,
    least_share: float,
    classes: Classes,
    needed: bool,
) -> list[CellTags]:
    """The tags of all cells of a scene; a raster must meet it where they are `needed`."""
    work: WeakScene = job.context
    scene, shape = plain_id(job.name), (len(work.cells), len(classes))
    values = np.full(shape, np.nan)
    if _is_raster(tags):
        if needed and not work.grid.crs:
            raise InputError(
                work.layers[IMAGES][0].path,
                "no CRS, so that no raster meets it",
                "give tags a list .csv",
            )
        built = np.full(len(work.cells), np.nan, np.float32)
        if work.grid.crs:
            means = cell_means(Path(tags), work.grid, cell, full, scene, needed=needed)
            built = means.ravel()
        values[:, classes.mapped_index] = built
        if classes.by_threshold:
            values[:, 1 - classes.mapped_index] = 1 - built
    elif given is not None:
        for i, window in enumerate(work.cells):
            of = given.get((scene, window.x, window.y))
            values[i] = np.nan if of is None else of.tags
    elif len(counts):
        total = counts.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            share = counts / total
        values = share if tags == SHARES else np.where(np.isnan(share), np.nan, share > least_share)
    values[:, [i for i in range(len(classes)) if i not in classes.scored]] = np.nan
    return [
        CellTags(scene, w, tuple(map(float, row)), work.tile_id(scene, w))
        for w, row in zip(work.cells, values, strict=True)
    ]


def _say_contradictions(
    tags: str,
    jobs: Sequence[Job],
    known: Mapping[str, Sequence[CellTags]],
    counts: Mapping[str, Counts],
    classes: Classes,
) -> None:
    """Count the cells whose given tags say other than the masks' pixels, class by class."""
    wrong: dict[str, list[str]] = {}
    for job in jobs:
        for of, row in zip(known[job.name], counts[job.name], strict=False):
            complete = int(row.sum()) == of.window.height * of.window.width
            for name, tag, pixels in zip(classes.names, of.tags, row, strict=True):
                if (tag == 0 and pixels) or (tag > 0 and not pixels and complete):
                    what = f"{name} {'absent' if tag == 0 else 'present'} by its tag only"
                    wrong.setdefault(what, []).append(f"{of.scene} {of.window.x},{of.window.y}")
    for what, where in sorted(wrong.items()):
        log.warning(
            "%s: tags and pixels contradict each other in %d cells: %s (%s)",
            *(tags, len(where), what, ", ".join(where[:3]) + (", …" if len(where) > 3 else "")),
        )


def _require_taught(
    folder: Path,
    roles: Mapping[str, str],
    counts: Mapping[str, Counts],
    weak: Mapping[str, Sequence[CellTags]],
    classes: Classes,
) -> None:
    """InputError for a class that tags say occurs and no pixel of N1 shows."""
    seen = np.zeros(len(classes), np.int64)
    for scene, role in roles.items():
        if role == N1:
            seen += counts[scene].sum(axis=0)
    tagged = [any(of.tags[i] > 0 for own in weak.values() for of in own) for i in range(len(seen))]
    of_n1 = ", ".join(plain_id(s) for s, role in roles.items() if role == N1)
    for i, name in enumerate(classes.names):
        if tagged[i] and not seen[i]:
            raise InputError(
                folder,
                f"the class {name} has tags, and occurs in no pixel label of N1 ({of_n1})",
                "choose another seed, a larger share of N1, or classes without it",
            )
        if not seen[i]:
            log.warning("%s: no pixel label of N1 is of the class %s (%s)", folder, name, of_n1)


def _remove_others(output: Path, hidden: Sequence[Job]) -> None:
    """Remove what an earlier split hid and this one does not: no list names it any more."""
    kept = {job.manifest for job in hidden}
    for manifest in sorted((output / MASKS).glob(f"*/{MANIFESTS}/*.json")):
        try:
            made = json.loads(manifest.read_text("utf-8"))
        except ValueError:
            continue  # nobody's, and not for us to remove
        if made.get("step") != STEP.name or manifest in kept:
            continue
        mask, *folders = (out["name"] for out in made["outputs"])
        for layer in (IMAGES, HEIGHT):
            for name in folders:
                shutil.rmtree(output / layer / name, ignore_errors=True)
        (manifest.parent.parent / mask).unlink(missing_ok=True)
        manifest.unlink()


# --- what covers all scenes -----------------------------------------------------------------------


def _write(
    output: Path,
    works: Mapping[str, WeakScene],
    hidden: Mapping[str, Job],
    roles: Mapping[str, str],
    weak: Mapping[str, Sequence[CellTags]],
    classes: Classes,
) -> None:
    """The lists of all layers, the tags, and the split."""
    lists: dict[str, list[Tile]] = {IMAGES: [], MASKS: [], HEIGHT: []}
    for scene, work in works.items():
        for layer, tiles in work.layers.items():
            job = hidden.get(scene)
            lists[layer] += list(tiles) if job is None else shown_tiles(job, layer)
    for layer, listed in lists.items():
        if listed:
            write_list(output / layer / TILES_CSV, listed)
    write_tags(output / TAGS_CSV, [of for own in weak.values() for of in own], classes.names)
    rows = [
        f"{plain_id(scene)},{VALIDATION if role == VALIDATION else 'training'},{role}\n"
        for scene, role in roles.items()
    ]
    write_text_atomically(output / SPLIT_CSV, "scene,fold,role\n" + "".join(rows))
