"""Scores of maps of any number of classes: scene by scene, and from one confusion matrix.

The mean and standard deviation over scenes of weighted precision, recall and F1 are the score of
the DroneDeploy benchmark. They follow the large classes; the IoU of each class, its mean and the
mapped class's F1 and IoU, from all scenes' pixels together, say what the small ones get.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from builtup.scoring.bootstrap import LEVEL, RESAMPLES, Interval, interval, resample
from builtup.scoring.counts import (
    Counts,
    f1,
    iou,
    one_against_rest,
    precision,
    recall,
    scores,
    weighted,
)
from builtup.scoring.summary import mean_of_defined
from builtup.scoring.tables import as_json, span, three_decimals
from builtup.sensors.classes import Classes
from builtup.text_table import text_table

__all__ = ["WEIGHTED", "ClassScores", "SceneCounts"]

#: The benchmark's three scores of a scene.
WEIGHTED = ("precision", "recall", "f1")
_OF_CLASS = {"iou": iou, "f1": f1, "precision": precision, "recall": recall}


@dataclass(frozen=True)
class SceneCounts:
    """The pixels of a scene by block: `blocks[block, truth, prediction]` (B, C, C) int64."""

    name: str
    blocks: Counts

    @property
    def matrix(self) -> Counts:
        """The scene's confusion matrix [truth, prediction]."""
        total: Counts = self.blocks.sum(axis=0)
        return total


@dataclass(frozen=True)
class ClassScores:
    """What is computed of several scenes' counts; scenes without a pixel have no score.

    Intervals are over all blocks of all scenes: they say how much depends on which ground of these
    scenes was mapped, not how another scene would do.
    """

    scenes: tuple[SceneCounts, ...]
    classes: Classes

    @property
    def matrix(self) -> Counts:
        """The confusion matrix [truth, prediction] of all scenes' pixels."""
        total: Counts = np.sum([scene.matrix for scene in self.scenes], axis=0)
        return total

    @property
    def blocks(self) -> int:
        """How many blocks have pixels that count."""
        return sum(len(scene.blocks) for scene in self.scenes)

    def by_scene(self) -> dict[str, dict[str, float]]:
        """Weighted precision, recall and F1 of each scene; NaN where no pixel counts."""
        return {scene.name: weighted(scene.matrix) for scene in self.scenes}

    def over_scenes(self) -> dict[str, float]:
        """The scenes' mean and standard deviation (of the scenes there are, n) of each score."""
        rows = [list(row.values()) for row in self.by_scene().values()]
        values = np.array([row for row in rows if not np.isnan(row).any()]).reshape(-1, 3)
        found: dict[str, float] = {}
        for name, column in zip(WEIGHTED, values.T, strict=True):
            found[f"{name}_mean"] = float(column.mean()) if len(column) else float("nan")
            found[f"{name}_std"] = float(column.std()) if len(column) else float("nan")
        return found

    def by_class(self) -> dict[str, dict[str, float]]:
        """IoU, F1, precision and recall of each class, NaN where undefined."""
        cells = one_against_rest(self.matrix)
        columns = {name: score(cells) for name, score in _OF_CLASS.items()}
        return {
            name: {score: float(values[i]) for score, values in columns.items()}
            for i, name in enumerate(self.classes.names)
        }

    def together(self) -> dict[str, float]:
        """F1 and IoU of the mapped class, mIoU and mean F1 of the scored classes, and accuracy."""
        found = scores(self.matrix, self.classes)
        return {
            "mapped_f1": found["f1"],
            "mapped_iou": found["iou"],
            "miou": found["macro_iou"],
            "mean_f1": found["macro_f1"],
            "accuracy": found["accuracy"],
        }

    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of mapped_f1, mapped_iou and miou over blocks."""
        counts = np.concatenate([scene.blocks for scene in self.scenes])
        if not len(counts):
            nothing = Interval(float("nan"), float("nan"), LEVEL)
            return dict.fromkeys(("mapped_f1", "mapped_iou", "miou"), nothing)
        drawn = resample(counts, np.zeros(len(counts), np.int64))[:, 0]
        cells = one_against_rest(drawn)
        mapped = cells[:, self.classes.mapped_index]
        scored = cells[:, list(self.classes.scored)]
        return {
            "mapped_f1": interval(f1(mapped)),
            "mapped_iou": interval(iou(mapped)),
            "miou": interval(mean_of_defined(iou(scored), axis=1)),
        }

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, None for what is undefined."""
        pixels = {scene.name: int(scene.matrix.sum()) for scene in self.scenes}
        values: dict[str, Any] = as_json(
            {
                "scenes": {n: {**r, "pixels": pixels[n]} for n, r in self.by_scene().items()},
                "over_scenes": self.over_scenes(),
                "classes": {
                    name: {**row, "scored": name not in self.classes.unscored}
                    for name, row in self.by_class().items()
                },
                "together": self.together(),
                "intervals": {n: [i.low, i.high] for n, i in self.intervals().items()},
                "confusion_matrix": self.matrix,
            }
        )
        return values

    def lines(self, block: str) -> list[str]:
        """The scores as two tables and in words; `block` says how large a block is."""
        mapped, found, spans = self.classes.mapped, self.together(), self.intervals()
        pairs = (("F1", "mapped_f1"), ("IoU", "mapped_iou"))
        said = [
            f"{mapped} {word} {three_decimals(found[name])} ({span(spans[name])})"
            for word, name in pairs
        ]
        said.append(f"mIoU {three_decimals(found['miou'])} ({span(spans['miou'])})")
        return [
            self._scene_table(),
            "weighted by class; mean and standard deviation over scenes are the score of "
            "DroneDeploy's benchmark",
            "",
            self._class_table(),
            f"{'; '.join(said)}; from all pixels together",
            f"in brackets: {100 * LEVEL:.0f} % intervals, {RESAMPLES} resamples of "
            f"n = {self.blocks} blocks of {block}",
            *self._left_out(),
        ]

    def _scene_table(self) -> str:
        rows = [["scene", "precision", "recall", "F1", "pixels"]]
        for scene in self.scenes:
            own = weighted(scene.matrix)
            shown = [three_decimals(own[name]) for name in WEIGHTED]
            rows.append([scene.name, *shown, f"{int(scene.matrix.sum()):,}"])
        over = self.over_scenes()
        for title, end in (("mean", "mean"), ("standard deviation", "std")):
            rows.append([title, *(three_decimals(over[f"{n}_{end}"]) for n in WEIGHTED), ""])
        return text_table(rows)

    def _class_table(self) -> str:
        rows = [["class", "IoU", "F1", "precision", "recall", "pixels"]]
        pixels = self.matrix.sum(axis=1)
        for (name, row), count in zip(self.by_class().items(), pixels, strict=True):
            title = f"{name} (not in means)" if name in self.classes.unscored else name
            rows.append([title, *(three_decimals(row[s]) for s in _OF_CLASS), f"{count:,}"])
        found = self.together()
        means = [three_decimals(found[name]) for name in ("miou", "mean_f1")]
        rows.append(["mean of classes", *means, "", "", f"{int(pixels.sum()):,}"])
        return text_table(rows)

    def _left_out(self) -> list[str]:
        empty = [s.name for s in self.scenes if not s.matrix.any()]
        scored = [self.classes.names[i] for i in self.classes.scored]
        lacking = [n for n, row in self.by_class().items() if np.isnan(row["iou"]) and n in scored]
        lines = []
        if lacking:
            lines.append(f"not in the truth, and so in no mean: {', '.join(lacking)}")
        if empty:
            lines.append(f"no labelled and mapped pixel to score: {', '.join(empty)}")
        return lines
