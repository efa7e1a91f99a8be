"""The threshold of a network that was trained on everything: that of its cross-validation.

Such a network has no unseen ground to choose on. What its config's cross-validation chose, fold by
fold, is the best that is known: the mean of the folds' thresholds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from builtup.errors import ConfigError, NoSuchRunError
from builtup.runs import tracking
from builtup.runs.records import InheritedThreshold

__all__ = ["CROSS_JSON", "FOLDER", "inherited_threshold"]

log = logging.getLogger(__name__)

#: Where a cross-validation's files stand in its runs' artifacts, and its record among them.
FOLDER, CROSS_JSON = "cross_validation", "cross_validation.json"


def inherited_threshold(source: str, folds: Sequence[str]) -> InheritedThreshold:
    """The mean threshold of a cross-validation over `folds`, the folds of the data trained on.

    `source` is a config's name (`recommended_cpu`: its newest finished cross-validation), a run id
    or a folder. Raises ConfigError, in one line, where there is none, or it held out other ground.
    """
    folder, name = _find(source)
    path = folder / CROSS_JSON
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        thresholds: dict[str, list[float]] = {}
        for fold in record["folds"]:
            thresholds.setdefault(fold["fold"], []).append(float(fold["threshold"]))
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ConfigError(
            f"threshold_from = {source}: {path} cannot be read ({e}); run cross_validate again"
        ) from e
    if set(thresholds) != set(folds):
        differ = sorted(set(thresholds) ^ set(folds))
        raise ConfigError(
            f"threshold_from = {source}: its cross-validation held out other ground than these "
            f"data have (of one only: {', '.join(differ)}); cross_validate on this data_path, or "
            "set threshold_from=none for 0.5"
        )
    mean = fmean(fmean(values) for values in thresholds.values())
    overrides = str(record.get("overrides") or "")
    log.info(
        "threshold %.3f, from the cross-validation %s%s",
        *(mean, name, f", trained with overrides {overrides}" if overrides else ""),
    )
    return InheritedThreshold(
        threshold=mean, tuned_on=tuple(sorted(thresholds)), source=name, overrides=overrides
    )


def _find(source: str) -> tuple[Path, str]:
    folder = Path(source)
    if folder.is_dir():
        return (folder / FOLDER if (folder / FOLDER).is_dir() else folder), str(folder)
    try:
        run = tracking.newest_run("Trainings", cross_validation_of=source)
    except NoSuchRunError:
        try:
            run = tracking.find_run(source)
        except NoSuchRunError as e:
            raise ConfigError(
                f"threshold_from = {source}: no finished cross-validation of a config of that "
                "name, no run and no folder; run cross_validate first, or set "
                "threshold_from=none for 0.5"
            ) from e
    return tracking.run_artifacts(run.info.run_id) / FOLDER, str(run.info.run_id)
