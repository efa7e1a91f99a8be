"""Merging predicted tiles into one probability raster a scene.

Reads `raw/<scene>_tiles/tile_<x>_<y>.tif` and their tags, nothing else. Overlaps are blended with
integer weights and integer sums, block by block, so the bytes depend neither on the order of the
tiles nor on how the work is cut.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.io import DatasetReader, DatasetWriter

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.blend import IntegerBlend, ramp_of
from builtup.geo.grid import SAME_GRID_TOLERANCE, Grid
from builtup.geo.probability import NODATA
from builtup.geo.rasters import create_cog, gdal_env, open_raster, read_window
from builtup.geo.windows import Window
from builtup.jobs.steps import Job, Step, Summary, run_step
from builtup.runs.results import (
    PredictionTags,
    Results,
    read_tags,
    resolve_results,
    scene_rasters,
    scene_stem,
    upload_results,
    write_tags,
)

__all__ = ["merge_tiles"]

STEP = Step("merge_tiles", 1)
#: Side of the blocks that are worked on, and of those of the COG.
BLOCK = 512
_TILE = re.compile(r"tile_(\d+)_(\d+)\.tif")
_AGAIN = "run the inference again, with resume_from to keep what is done"


def merge_tiles(
    *, input_path: str = "", run_id: str = "", num_workers: int = 2, on_error: str = "stop"
) -> Summary:
    """Blend the tiles of each scene into `raw/<scene>.tif` (kind prob): a COG, uint8, 255 no-data.

    The predictions are those of `input_path`, else of the inference run `run_id`, else of the
    newest finished one. Raises InputError where tiles do not belong together or leave a gap.
    """
    results = resolve_results(input_path, run_id)
    jobs, problems = _find_jobs(results)
    summary = run_step(
        STEP, jobs, _merge, num_workers=num_workers, on_error=on_error, problems=problems
    )
    upload_results(results)
    return summary


def _find_jobs(results: Results) -> tuple[list[Job], list[BuiltupError]]:
    folders = sorted(path for path in results.raw.glob("*_tiles") if path.is_dir())
    if not folders and not scene_rasters(results):  # by="scenes" leaves nothing to merge
        raise InputError(results.raw, "no folder <scene>_tiles in it", "run the inference first")
    jobs: list[Job] = []
    problems: list[BuiltupError] = []
    for folder in folders:
        try:
            jobs.append(_job(folder, results.raw))
        except BuiltupError as e:
            problems.append(e)
    return jobs, problems


def _job(folder: Path, raw: Path) -> Job:
    paths = sorted(path for path in folder.iterdir() if _TILE.fullmatch(path.name))
    if not paths:
        raise InputError(folder, "no tile_<x>_<y>.tif in it", _AGAIN)
    tags = read_tags(paths[0])
    if tags.scene.count("{}") != 1 or "/" in tags.scene:
        raise InputError(paths[0], f"its tag BUILTUP_SCENE is {tags.scene!r}", _AGAIN)
    return Job(
        name=tags.scene,
        inputs=tuple(paths),
        outputs=(raw / f"{scene_stem(tags.scene, tags.city)}.tif",),
        settings={},
        pixels=tags.width * tags.height,
    )


@dataclass(frozen=True)
class _Piece:
    """A tile: its file, its place in the scene, and what it says of the scene."""

    path: Path
    window: Window
    tags: PredictionTags
    grid: Grid
    bands: int
    descriptions: tuple[str | None, ...]


@dataclass(frozen=True)
class _Mosaic:
    """The tiles of one scene, checked: they agree and leave no gap."""

    pieces: tuple[_Piece, ...]
    tags: PredictionTags
    grid: Grid
    ramp: int

    @property
    def bands(self) -> int:
        return self.pieces[0].bands


def _merge(job: Job) -> dict[str, int]:
    with gdal_env():
        mosaic = _read_mosaic(job.inputs)
        profile: dict[str, Any] = {"count": mosaic.bands, "dtype": "uint8", "nodata": NODATA}
        with create_cog(job.outputs[0], mosaic.grid, **profile) as out:
            write_tags(out, mosaic.tags.of_kind("scene"))
            out.descriptions = mosaic.pieces[0].descriptions
            _blend_blocks(mosaic, out)
    return {"tiles": len(mosaic.pieces)}


def _read_mosaic(paths: Sequence[Path]) -> _Mosaic:
    pieces = tuple(_read_piece(path) for path in paths)
    first = pieces[0]
    for piece in pieces[1:]:
        _check_alike(first, piece)
    scene = Window(0, 0, first.tags.height, first.tags.width)
    for piece in pieces:
        if piece.window.intersection(scene) != piece.window:
            size = f"{scene.width}x{scene.height}"
            raise InputError(piece.path, f"reaches over its scene of {size} pixels", _AGAIN)
    missing = _uncovered(scene, [piece.window for piece in pieces])
    if missing:
        raise InputError(
            first.path.parent,
            f"its {len(pieces)} tiles leave {missing} pixels of {scene.width}x{scene.height} bare",
            _AGAIN,
        )
    grid = replace(first.grid, width=scene.width, height=scene.height)
    return _Mosaic(pieces, first.tags, grid, ramp_of(_largest_overlap(pieces)))


def _read_piece(path: Path) -> _Piece:
    match = _TILE.fullmatch(path.name)
    if match is None:
        raise InputError(path, "not named tile_<x>_<y>.tif", _AGAIN)
    x, y = int(match[1]), int(match[2])
    with open_raster(path) as dataset:
        if dataset.dtypes[0] != "uint8" or dataset.nodata != NODATA:
            raise InputError(path, "not uint8 with 255 as no-data", _AGAIN)
        tile = Grid.of(dataset)
        tags = read_tags(dataset)
        scene = Grid(tile.crs, tile.transform @ Affine.translation(-x, -y), tags.width, tags.height)
        window = Window(y, x, dataset.height, dataset.width)
        return _Piece(path, window, tags, scene, dataset.count, tuple(dataset.descriptions))


def _check_alike(first: _Piece, piece: _Piece) -> None:
    own = ("scene", "city", "year", "width", "height", "run_id", "threshold", "classes", "mapped")
    for name in own:
        one, other = getattr(first.tags, name), getattr(piece.tags, name)
        if one != other:
            problem = f"its {name} is {other}, that of {first.path.name} is {one}"
            raise InputError(piece.path, problem, _AGAIN)
    if piece.bands != first.bands:
        raise InputError(piece.path, f"{piece.bands} bands, not {first.bands}", _AGAIN)
    difference = first.grid.difference(piece.grid, SAME_GRID_TOLERANCE)
    if difference:
        problem = f"not on the grid of {first.path.name} ({difference})"
        raise GridError(piece.path, problem, _AGAIN)


def _uncovered(scene: Window, windows: Sequence[Window]) -> int:
    """Pixels of the scene in none of the windows, counted on the lattice of their edges."""
    xs = sorted({0, scene.width, *(w.x for w in windows), *(w.x + w.width for w in windows)})
    ys = sorted({0, scene.height, *(w.y for w in windows), *(w.y + w.height for w in windows)})
    column = {x: i for i, x in enumerate(xs)}
    row = {y: i for i, y in enumerate(ys)}
    bare = np.ones((len(ys) - 1, len(xs) - 1), bool)
    for w in windows:
        bare[row[w.y] : row[w.y + w.height], column[w.x] : column[w.x + w.width]] = False
    areas = np.diff(ys)[:, None] * np.diff(xs)[None, :]
    return int(areas[bare].sum())


def _largest_overlap(pieces: Sequence[_Piece]) -> int:
    """The most pixels, along either axis, that a tile shares with the next one."""
    across = {(p.window.x, p.window.x + p.window.width) for p in pieces}
    down = {(p.window.y, p.window.y + p.window.height) for p in pieces}
    most = 0
    for spans in (sorted(across), sorted(down)):
        for (start, end), (following, _) in pairwise(spans):
            if following > start:
                most = max(most, end - following)
    return most


def _blend_blocks(mosaic: _Mosaic, out: DatasetWriter) -> None:
    """Write the mosaic in rows of blocks; only the tiles that meet a row are open."""
    width, height = mosaic.grid.width, mosaic.grid.height
    for y in range(0, height, BLOCK):
        strip = Window(y, 0, min(BLOCK, height - y), width)
        near = [p for p in mosaic.pieces if p.window.intersection(strip)]
        with ExitStack() as stack:
            tiles = [(stack.enter_context(open_raster(p.path)), p) for p in near]
            for x in range(0, width, BLOCK):
                block = Window(y, x, strip.height, min(BLOCK, width - x))
                blend = _blend_block(block, tiles, mosaic)
                out.write(blend.result(), window=block.rasterio)


def _blend_block(
    block: Window, tiles: Sequence[tuple[DatasetReader, _Piece]], mosaic: _Mosaic
) -> IntegerBlend:
    blend = IntegerBlend(mosaic.bands, block)
    for dataset, piece in tiles:
        part = piece.window.intersection(block)
        if part is not None:
            values = read_window(dataset, part.relative_to(piece.window))
            blend.add(values, part, piece.window, mosaic.ramp)
    return blend
