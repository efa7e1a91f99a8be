"""Cutting scenes, masks and what else lies on their grids into tiles.

`<out>/tiles.csv` lists the tiles; its paths (relative to the list) lead to tile files
`<out>/<scene>_tiles/tile_<x>_<y>.tif` or, with `materialize=False`, to the whole scenes. Where a
city has folders of several years it has a column `year`.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, DatasetWriter

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.rasters import create_raster, gdal_env, open_raster, read_window
from builtup.geo.windows import Window, tiling
from builtup.jobs.files import atomic_directory, write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step
from builtup.sensors.radar.names import plain_id
from builtup.sensors.scene_files import SceneFile, find_rasters
from builtup.tiles.tile import TILES_CSV, YEAR, Tile, tile_name

__all__ = ["generate_tiles", "write_list", "write_tile"]

log = logging.getLogger(__name__)

#: Raised when the bytes of the tiles or of the list change.
VERSION = 1
#: What a folder holds one of: scenes of radar or of cameras, or a layer on their grids.
KINDS = ("3b", "image", "mask", "height", "soft")
COLUMNS = ("tile_id", "city", "scene", "date", "x", "y", "width", "height", "path")


@dataclass(frozen=True)
class _Plan:
    """A scene, its grid, the windows of its tiles and the folder that takes them."""

    scene: SceneFile
    grid: Grid
    windows: tuple[Window, ...]
    folder: Path


def generate_tiles(
    *,
    input_path: Path,
    output_path: Path,
    tile_size: int,
    overlap: int,
    materialize: bool,
    num_workers: int = 2,
    on_error: str = "stop",
    step_name: str = "generate_tiles",
) -> Summary:
    """Cut the scenes, the masks or another layer below `input_path` into tiles of `tile_size`
    pixels.

    Tiles lie evenly with at least `overlap` pixels in common, the last flush with the edge. The
    folder of a scene's tiles appears whole; the list is written when all are there. With
    `materialize=False` only the list is written. Raises InputError where `input_path` holds no
    scenes, or one that cannot be read.
    """
    started = time.monotonic()
    if not 0 <= overlap < tile_size:
        raise BuiltupError(
            f"overlap={overlap}: must be below tile_size={tile_size}; choose a smaller overlap"
        )
    plans, problems = _plan(_find(input_path), output_path, tile_size, overlap)
    if not plans and problems:
        raise problems[0]
    step = Step(step_name, VERSION)
    jobs = [_job(plan, tile_size, overlap) for plan in plans] if materialize else []
    summary = run_step(
        step,
        jobs,
        cut_scene,
        num_workers=num_workers,
        on_error=on_error,
        problems=problems,
    )
    listed = (
        [p for p, job in zip(plans, jobs, strict=True) if is_done(step, job)] if jobs else plans
    )
    tiles = [tile for plan in listed for tile in _tiles(plan, materialize)]
    rewritten = write_list(output_path / TILES_CSV, tiles)
    if not materialize:
        summary.up_to_date = len(plans)
    if rewritten and summary.done == 0:
        summary.done, summary.noun = 1, "list"
        summary.counts["tiles"] = len(tiles)
    _report_unlisted(output_path, tiles)
    summary.seconds = time.monotonic() - started
    return summary


def _find(input_path: Path) -> tuple[SceneFile, ...]:
    found = {kind: find_rasters(input_path, kind) for kind in KINDS}
    kinds = [kind for kind, files in found.items() if files]
    if len(kinds) > 1:
        one, other = (found[kind][0].path.name for kind in kinds[:2])
        what = "scenes and masks" if "mask" in kinds[:2] else "rasters of two kinds"
        raise InputError(
            input_path, f"holds {what} ({one}, {other})", "give the folder of one of them"
        )
    if not kinds:
        raise InputError(
            input_path,
            "no 3-band scenes and no masks below it",
            "run generate_3b_images or rasterize first, or import_scenes for images of cameras",
        )
    return found[kinds[0]]


def _plan(
    scenes: Sequence[SceneFile], output_path: Path, tile_size: int, overlap: int
) -> tuple[list[_Plan], list[BuiltupError]]:
    plans: list[_Plan] = []
    problems: list[BuiltupError] = []
    for scene in scenes:
        try:
            with gdal_env(), open_raster(scene.path) as dataset:
                grid = Grid.of(dataset)
        except InputError as e:
            problems.append(e)
            continue
        if not grid.crs and scene.of_radar:
            problems.append(InputError(scene.path, "no CRS", "run the step before again"))
            continue
        windows = tuple(tiling(grid.width, grid.height, tile_size, overlap))
        plans.append(_Plan(scene, grid, windows, output_path / f"{scene.path.stem}_tiles"))
    return plans, problems


def _job(plan: _Plan, tile_size: int, overlap: int) -> Job:
    return Job(
        name=plan.scene.path.stem,
        inputs=(plan.scene.path,),
        outputs=(plan.folder,),
        settings={"tile_size": tile_size, "overlap": overlap},
        pixels=plan.grid.pixels,
        context=plan.windows,
    )


def cut_scene(job: Job) -> dict[str, int]:
    """Write the tiles of one scene: the work of one job, in whatever process."""
    windows: tuple[Window, ...] = job.context
    with gdal_env(), open_raster(job.inputs[0]) as scene, atomic_directory(job.outputs[0]) as out:
        for window in windows:
            values = read_window(scene, window)
            write_tile(scene, window, values, out / tile_name(window.x, window.y))
    return {"tiles": len(windows)}


def write_tile(scene: DatasetReader, window: Window, values: NDArray[Any], path: Path) -> None:
    """Write the pixels of a window of a scene (bands, h, w) as a tile that says what it does."""
    # ZSTD saves a sixth of speckle and costs the reader more than that; masks shrink to nothing
    layout: dict[str, Any] = (
        {"interleave": "band"}
        if values.dtype.kind == "f" or scene.count > 1
        else {"compress": "ZSTD", "zstd_level": 1}
    )
    profile = {
        "dtype": values.dtype,
        "count": scene.count,
        "width": window.width,
        "height": window.height,
        "crs": scene.crs,
        "transform": Grid.of(scene).window(window.x, window.y, 1, 1).transform,
        "nodata": scene.nodata,
        "blockysize": window.height,
        **layout,
    }
    with create_raster(path, **profile) as tile:
        _keep_meaning(scene, tile)
        tile.write(values)
        tile.descriptions = scene.descriptions


def _keep_meaning(scene: DatasetReader, tile: DatasetWriter) -> None:
    """What a scene of a camera says of itself: its tags, its alpha band, the colours of classes.

    Radar's are told by their names. To be called before pixels are written.
    """
    tags = {key: text for key, text in scene.tags().items() if key.startswith("BUILTUP_")}
    if "BUILTUP_SENSOR" not in tags:
        return
    tile.update_tags(**tags)
    tile.colorinterp = scene.colorinterp
    if scene.colorinterp[0] == ColorInterp.palette:
        tile.write_colormap(1, scene.colormap(1))


def _tiles(plan: _Plan, materialize: bool) -> Iterable[Tile]:
    scene = plan.scene
    for w in plan.windows:
        yield Tile(
            tile_id=f"{plain_id(scene.scene_id)}_{w.x}_{w.y}",
            city=scene.city,
            scene=scene.scene_id,
            date=scene.date,
            x=w.x,
            y=w.y,
            width=w.width,
            height=w.height,
            path=plan.folder / tile_name(w.x, w.y) if materialize else scene.path,
            year=scene.year,
        )


def write_list(path: Path, tiles: Sequence[Tile]) -> bool:
    """Write a list of tiles, paths relative to it; False where it stands there, word for word."""
    home = str(path.parent.resolve())
    relative = {
        folder: os.path.relpath(folder.resolve(), home) for folder in {t.path.parent for t in tiles}
    }
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    by_year = any(t.year for t in tiles)
    writer.writerow((*COLUMNS, YEAR) if by_year else COLUMNS)
    for t in tiles:
        place = Path(relative[t.path.parent], t.path.name).as_posix()
        row = (t.tile_id, t.city, t.scene, t.date, t.x, t.y, t.width, t.height, place)
        writer.writerow((*row, t.year) if by_year else row)
    try:
        if path.read_text(encoding="utf-8") == text.getvalue():
            return False
    except (OSError, UnicodeDecodeError):
        pass  # none yet, or one that must be replaced
    write_text_atomically(path, text.getvalue())
    return True


def _report_unlisted(output_path: Path, tiles: Sequence[Tile]) -> None:
    """Name tile folders of scenes that are gone; nothing is deleted."""
    listed = {tile.path.parent.name for tile in tiles}
    unlisted = sorted(p.name for p in output_path.glob("*_tiles") if p.name not in listed)
    if unlisted:
        log.info(
            "%s: %d tile folders are no longer in %s (%s, …); delete them to free their space",
            output_path,
            len(unlisted),
            TILES_CSV,
            unlisted[0],
        )
