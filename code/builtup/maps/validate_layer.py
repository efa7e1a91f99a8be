"""Scoring maps of any number of classes against masks: a layer of a folder of scenes.

A scene's mask is compared with the map of its site or with its own probabilities, which are found
by the tags of the rasters. The mask's grid counts: a map on another is read on it, each pixel from
the nearest. Nothing but counts by block is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, InputError
from builtup.geo.burn import Burner
from builtup.geo.grid import Grid
from builtup.geo.lengths import Length, pixel_metres
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.reprojection import reproject
from builtup.geo.vectors import PolygonSet
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import write_text_atomically
from builtup.maps.masked_scenes import MaskedScene, classes_of, open_map, pair_scenes
from builtup.runs.results import Results
from builtup.scoring.blocks import BlockMatrices, block_side
from builtup.scoring.class_scores import ClassScores, SceneCounts
from builtup.scoring.scored_area import WINDOW, eroded, read_scored_area
from builtup.sensors.classes import Classes
from builtup.sensors.scene_files import require_folder

__all__ = ["SCENE_SCORES", "LayerOptions", "LayerScores", "score_layer"]

#: What is written beside the predictions.
SCENE_SCORES = "scene_scores.json"


@dataclass(frozen=True)
class LayerOptions:
    """How masks are scored.

    `layer` is the folder of masks below the split; with `per_scene` each scene's own probabilities
    are scored, else the map of its site. `block` is the side of the blocks that intervals resample
    ("100m", "64"; empty: 100 m, 64 pixels at least), `erode` the pixels about another class that a
    second set of scores leaves out.
    """

    layer: str
    per_scene: bool = False
    block: str = ""
    erode: int = 0


@dataclass(frozen=True)
class LayerScores:
    """Scores on all of the truth, on `eroded` truth where that was asked for, and what to know."""

    full: ClassScores
    eroded: ClassScores | None
    erode: int
    block: str
    notes: tuple[str, ...]
    sites: dict[str, str]

    def lines(self) -> list[str]:
        """All of it as it is printed."""
        lines = self.full.lines(self.block)
        if self.eroded is not None:
            lines += ["", f"without {self.erode} pixels about other classes:"]
            lines += self.eroded.lines(self.block)
        return [*lines, *self.notes]

    def metrics(self) -> dict[str, float]:
        """The figures by the names that they have in a run, NaN where undefined."""
        found: dict[str, float] = {}
        for start, scores in (("", self.full), ("eroded/", self.eroded)):
            if scores is None:
                continue
            own = {f"weighted_{name}": value for name, value in scores.over_scenes().items()}
            own |= scores.together()
            for name, row in scores.by_class().items():
                own |= {f"class/{name}/{key}": value for key, value in row.items()}
            for name, row in scores.by_scene().items():
                own |= {f"scene/{name}/weighted_{key}": value for key, value in row.items()}
            found |= {f"{start}{name}": value for name, value in own.items()}
        return found


def score_layer(results: Results, gt_path: Path, options: LayerOptions) -> LayerScores:
    """Score predictions against the masks of `gt_path`/`options.layer`.

    Writes scene_scores.json into the predictions' folder. Scenes without a map and maps without a
    mask are named; InputError where none fits, where classes differ or where grids cannot be laid
    over each other.
    """
    block = Length.parse(options.block, "block") if options.block else None
    folder = require_folder(gt_path / options.layer)
    pairs, notes = pair_scenes(results, folder, options.per_scene)
    classes = classes_of(pairs, gt_path)
    area = read_scored_area(results)
    counted = [_Counted.of(pair, classes, block, options.erode, area) for pair in pairs]
    notes += _unmapped(counted)
    if area is not None:
        notes.append(f"scored inside {area.path} only")
    full = ClassScores(tuple(SceneCounts(c.name, c.full) for c in counted), classes)
    narrow = tuple(SceneCounts(c.name, c.eroded) for c in counted if c.eroded is not None)
    scores = LayerScores(
        full,
        ClassScores(narrow, classes) if narrow else None,
        options.erode,
        _block_words(counted),
        tuple(notes),
        {pair.name: pair.truth.city for pair in pairs},
    )
    _write(results, folder, scores)
    return scores


# --- counting ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Counted:
    """Counts by block of a scene, the side of its blocks, and its labelled pixels.

    `metres` is the side of a pixel, `unmapped` are labelled pixels without a map.
    """

    name: str
    full: NDArray[np.int64]
    eroded: NDArray[np.int64] | None
    side: int
    metres: float | None
    labelled: int
    unmapped: int

    @classmethod
    def of(
        cls,
        pair: MaskedScene,
        classes: Classes,
        block: Length | None,
        erode: int,
        area: PolygonSet | None,
    ) -> _Counted:
        with gdal_env(), open_raster(pair.truth.path) as mask, open_map(pair, mask) as read:
            metres = pixel_metres(mask)
            side = _block_side(block, metres, pair.truth.path)
            full, narrow = (BlockMatrices(len(classes), side) for _ in range(2))
            labelled = unmapped = 0
            inside = _inside(area, mask)
            for window in aligned(mask.width, mask.height, WINDOW):
                truth = _truth(mask, window, 0, inside)
                if (truth == IGNORE).all():
                    continue
                label = read(window)
                labelled += int((truth != IGNORE).sum())
                unmapped += int(((truth != IGNORE) & (label == IGNORE)).sum())
                with _naming(pair.truth.path):
                    full.add(window, truth, label)
                    if erode:
                        narrow.add(window, _truth(mask, window, erode, inside), label)
        counts = narrow.counts if erode else None
        return cls(pair.name, full.counts, counts, side, metres, labelled, unmapped)


def _truth(
    mask: DatasetReader, window: Window, erode: int, inside: Burner | None
) -> NDArray[np.uint8]:
    """Class numbers of a window, 255 where nothing counts, eroded as the whole mask would be."""
    whole = Window(0, 0, mask.height, mask.width)
    grown = Window(
        *(window.y - erode, window.x - erode),
        *(window.height + 2 * erode, window.width + 2 * erode),
    ).intersection(whole)
    assert grown is not None  # it holds the window
    truth = read_window(mask, grown, 1)
    if truth.dtype != np.uint8:
        raise InputError(mask.name, f"values of type {truth.dtype}", "give a mask of 8 bits")
    rows, columns = window.relative_to(grown).slices
    own = (eroded(truth, erode) if erode else truth)[rows, columns]
    return own if inside is None else np.where(inside.burn(window) == 1, own, np.uint8(IGNORE))


def _inside(area: PolygonSet | None, mask: DatasetReader) -> Burner | None:
    if area is None:
        return None
    grid = Grid.of(mask)
    if not grid.crs:
        problem = "has no CRS, and the scored area cannot be laid over it"
        raise InputError(mask.name, problem, f"take {area.path} away")
    return Burner.of(reproject(area, grid.crs), grid, all_touched=False)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in which mask a class is that nobody knows."""
    try:
        yield
    except InputError:
        raise
    except BuiltupError as e:
        raise InputError(path, str(e), "correct the mask") from e


def _block_side(block: Length | None, metres: float | None, path: Path) -> int:
    if block is not None:
        return max(1, block.pixels(metres, path))
    return block_side(metres)


# --- words and files -----------------------------------------------------------------------------


def _block_words(counted: Iterable[_Counted]) -> str:
    sides = {(c.side, round(c.side * c.metres, 1) if c.metres else None) for c in counted}
    words = [f"{side} pixels" + (f" ({m:g} m)" if m else "") for side, m in sides]
    return " or ".join(sorted(words))


def _unmapped(counted: Iterable[_Counted]) -> list[str]:
    shares = [
        f"{c.name} ({100 * c.unmapped / c.labelled:.1f} %)" for c in counted if c.unmapped > 0
    ]
    return [f"labelled, not mapped and not scored: {', '.join(shares)}"] if shares else []


def _write(results: Results, folder: Path, scores: LayerScores) -> None:
    values: dict[str, Any] = {
        "gt_path": str(folder),
        "block": scores.block,
        "notes": list(scores.notes),
        "full": scores.full.to_json(),
    }
    if scores.eroded is not None:
        values |= {"erode": scores.erode, "eroded": scores.eroded.to_json()}
    write_text_atomically(results.folder / SCENE_SCORES, json.dumps(values, indent=1) + "\n")
