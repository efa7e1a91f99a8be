"""What is counted of pseudo-labels, scene by scene, and what it comes to over all of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.geo.probability import IGNORE, NODATA, SCALE
from builtup.scoring.counts import confusion, scores
from builtup.scoring.tables import as_json
from builtup.sensors.classes import Classes

__all__ = ["LabelCounts", "mean_of", "quality_of", "stages_of"]

log = logging.getLogger(__name__)

Levels = NDArray[np.uint8]
#: What the labels of all cities together are called.
POOLED = "pooled"


class LabelCounts:
    """Pixels of a scene: valid, told by the map, labelled, of the mapped class; sums of its
    probabilities; and, where the truth is known, confusion matrices of the labels and of the
    `stages` before them."""

    def __init__(self, classes: Classes) -> None:
        self.classes = classes
        self.valid = self.told = self.kept = self.mapped = 0
        self.sums = np.zeros(len(classes.bands), np.int64)
        self.matrices: dict[str, NDArray[np.int64]] = {}

    def add(self, known: NDArray[np.bool_], levels: Levels, mask: Levels) -> None:
        """Count a window: where the map is valid, its probabilities (bands, h, w), its labels."""
        labelled = levels[0] != NODATA
        self.valid += int(known.sum())
        self.told += int(labelled.sum())
        self.kept += int(np.count_nonzero(mask != IGNORE))
        self.mapped += int(np.count_nonzero(mask == self.classes.mapped_index))
        self.sums += levels[:, labelled].sum(axis=1, dtype=np.int64)

    def compare(self, truth: Levels, stages: Mapping[str, Levels]) -> None:
        """Count a window's labels by name against its true classes, both 255 where unknown."""
        for name, mask in stages.items():
            found = confusion(truth, mask, len(self.classes))
            self.matrices[name] = self.matrices.get(name, np.zeros_like(found)) + found

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("valid", "told", "kept", "mapped")
        told: dict[str, Any] = {name: getattr(self, name) for name in names}
        told["sums"] = self.sums.tolist()
        if self.matrices:
            told["matrices"] = {name: m.tolist() for name, m in self.matrices.items()}
        return told


def mean_of(counts: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The mean probability of each band over all pixels that have one."""
    total = SCALE * max(1, sum(of["told"] for of in counts))
    return tuple(float(part) / total for part in np.sum([of["sums"] for of in counts], axis=0))


def quality_of(
    cities: Sequence[str], counts: Sequence[Mapping[str, Any]], classes: Classes, stage: str
) -> dict[str, dict[str, float | None]] | None:
    """F1, precision and recall of a stage's labels by city and pooled; None where no truth is
    known. `cities` has one for each of `counts`."""
    matrices: dict[str, NDArray[np.int64]] = {}
    for city, of in zip(cities, counts, strict=True):
        if "matrices" in of:
            matrix = np.array(of["matrices"][stage], np.int64)
            matrices[city] = matrices[city] + matrix if city in matrices else matrix
    if not matrices:
        return None
    matrices[POOLED] = np.sum(list(matrices.values()), axis=0)
    quality = {}
    for city, matrix in matrices.items():
        found = scores(matrix, classes)
        quality[city] = as_json({name: found[name] for name in ("f1", "precision", "recall")})
        log.info("%s: F1 of the labels against the truth %.3f", city, found["f1"])
    return quality


def stages_of(
    counts: Sequence[Mapping[str, Any]], classes: Classes
) -> dict[str, dict[str, float | None]] | None:
    """Of each stage of the labels, all scenes together: the share of the pixels with truth that
    have a label, mIoU, accuracy, and the mapped class's IoU; None where no truth is known."""
    known = [of["matrices"] for of in counts if "matrices" in of]
    if not known:
        return None
    totals = {name: np.sum([of[name] for of in known], axis=0) for name in known[0]}
    most = max(1, *(int(matrix.sum()) for matrix in totals.values()))
    stages = {}
    for name, matrix in totals.items():
        found = scores(matrix, classes)
        values = {
            "labelled": float(matrix.sum()) / most,
            "macro_iou": found["macro_iou"],
            "accuracy": found["accuracy"],
            "iou": found["iou"],
        }
        stages[name] = as_json(values)
        log.info(
            "labels, %s: %.1f %% of the pixels, mIoU %.3f, accuracy %.3f, IoU of %s %.3f",
            *(name, 100 * values["labelled"], found["macro_iou"], found["accuracy"]),
            *(classes.mapped, found["iou"]),
        )
    return stages
