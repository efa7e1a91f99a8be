"""Cross-validation: every city (or block of ground) left out in turn.

Nothing of a held-out fold is looked at before its network is finished: it chooses no checkpoint,
no stop and no threshold.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from builtup.config import load as configs
from builtup.config.load import Config
from builtup.config.overrides import split_overrides
from builtup.errors import BuiltupError, ConfigError
from builtup.jobs.files import write_text_atomically
from builtup.runs import tracking
from builtup.runs.manifest import git_commit
from builtup.runs.recorder import Recorder, recording
from builtup.runs.records import Summary
from builtup.runs.study_records import CrossValidation, ground_of_search
from builtup.scoring.blocks import BlockTable, write_blocks
from builtup.scoring.calibration import reliability
from builtup.scoring.charts import draw_reliability
from builtup.scoring.counts import f1, iou
from builtup.scoring.summary import Figures, figures_of, summary_lines
from builtup.scoring.tables import as_json, three_decimals
from builtup.studies.fold import SCORING_VERSION, FoldScore, read_score, score_fold, write_score
from builtup.studies.launch_runs import (
    SCORING_SETTINGS,
    FoldRun,
    FoldTask,
    data_digest,
    train_fold,
    training_key,
)
from builtup.text_table import text_table
from builtup.tiles.folds import Folds
from builtup.training.build import classes_of

__all__ = ["Scored", "cross_validate"]

log = logging.getLogger(__name__)

FOLDER = CrossValidation.FOLDER
BLOCKS_CSV, FOLDS_CSV = "blocks.csv", "folds.csv"
RELIABILITY_PNG = "reliability.png"
_OURS = frozenset({"val_fold", "validate", "es_patience", "resume_from", "log_model", "register"})


@dataclass(frozen=True)
class Scored:
    """A fold's training and its score."""

    task: FoldTask
    run: FoldRun
    score: FoldScore


@dataclass(frozen=True)
class FoldLine:
    """One line of folds.csv, its columns in this order; NaN where a figure is undefined.

    Scores of the mapped class at the chosen threshold and at 0.5, the expected calibration error
    of the probabilities as they are and with the temperature.
    """

    fold: str
    city: str
    seed: int
    threshold: float
    ece: float
    temperature: float
    ece_with_temperature: float
    f1: float
    iou: float
    f1_at_half: float
    iou_at_half: float
    pixels: int
    building_pixels: int
    threshold_tuned_on: str
    run_id: str
    kept: bool

    @classmethod
    def of(cls, run: FoldRun, score: FoldScore) -> FoldLine:
        """The figures of a scored fold."""
        chosen, half = BlockTable.of(score.rows).counts.sum(axis=(0, 1))
        return cls(
            fold=score.fold,
            city=score.city,
            seed=score.seed,
            threshold=score.threshold,
            ece=reliability(score.held_out).ece,
            temperature=math.nan if score.temperature is None else score.temperature,
            ece_with_temperature=reliability(score.tempered).ece,
            f1=float(f1(chosen)),
            iou=float(iou(chosen)),
            f1_at_half=float(f1(half)),
            iou_at_half=float(iou(half)),
            pixels=int(score.held_out.sum()),
            building_pixels=int(score.held_out[1].sum()),
            threshold_tuned_on=", ".join(score.tuned_on),
            run_id=run.run_id,
            kept=run.kept,
        )

    def figures(self) -> dict[str, float]:
        """What is logged of it, by name."""
        return {key: value for key, value in asdict(self).items() if isinstance(value, float)}


def cross_validate(
    *,
    config_path: Path,
    folds: str = "",
    seeds: str = "",
    num_gpus: int = 1,
    overrides: str = "",
    output: str = "",
) -> str:
    """Train and score a config with each fold left out; return a table to print.

    `folds` are names separated by `;` (all those of the config's data by default), `seeds`
    numbers separated by `;` (the config's own). Writes cross_validation.json, folds.csv and
    blocks.csv and reliability.png into the artifacts of a parent run and into `output`
    (output/cross_validation/<config>). Raises BuiltupError, in one line, where there are fewer
    than two folds, a fold is unknown, or a training fails.
    """
    tasks, kind = plan(config_path, folds, seeds, overrides)
    name = tasks[0].config.name
    with recording("Trainings", f"cross-validation of {name}") as recorder:
        recorder.tags(
            {
                "cross_validation_of": name,
                "git_commit": git_commit(),
                "folds": ", ".join(dict.fromkeys(task.fold for task in tasks)),
            }
        )
        recorder.params({**tasks[0].config.settings, "overrides": overrides, "fold_kind": kind})
        scored = [_fold(task, recorder.run_id, num_gpus) for task in tasks]
        folder = recorder.folder / FOLDER
        text = _conclude(scored, kind, overrides, recorder, folder)
    target = Path(output) if output else Path("output") / FOLDER / name
    shutil.copytree(folder, target, dirs_exist_ok=True)
    return f"{text}\nwritten to {target} and run {recorder.run_id}"


def plan(config_path: Path, folds: str, seeds: str, overrides: str) -> tuple[list[FoldTask], str]:
    """What to train, seed by seed and fold by fold, and the kind of folds."""
    config = configs.load(config_path, overrides)
    config.require("data_path", "seed", "val_fold", "num_epochs", "num_classes")
    classes_of(config)
    for name, _ in split_overrides(overrides):
        if name in _OURS:
            raise ConfigError(
                f"overrides: {name} is set by cross_validate itself, fold by fold; leave it out"
            )
    data_path = Path(config.data_path)
    known = Folds.read(data_path)
    if len(known.names) < 2:
        raise BuiltupError(
            f"{data_path}: leaving one out needs two folds, the data hold "
            f"{', '.join(known.names) or 'none'}; cut blocks of ground with "
            "generate_tiles_stats -P folds=blocks, or add a city"
        )
    wanted = [name.strip() for name in folds.split(";") if name.strip()]
    chosen = dict.fromkeys(known.index_of(n) for n in wanted) or range(len(known.names))
    data = data_digest(data_path)
    tasks = []
    for seed in _seeds(seeds, config):
        for fold in chosen:
            name = known.names[fold]
            own = [f"val_fold={name}", "validate=false", "es_patience=none", f"seed={seed}"]
            own += ["log_model=false", *_threshold_fold(config, known, fold)]
            text = " ".join([overrides, *map(shlex.quote, own)]).strip()
            resolved = configs.load(config_path, text)
            key = training_key(resolved, data)
            city = known.city_of(fold)
            tasks.append(FoldTask(name, city, seed, config_path, text, resolved, key))
    return tasks, known.kind


def _threshold_fold(config: Config, known: Folds, fold: int) -> list[str]:
    """The override that names another fold to choose the threshold on, where the config asks."""
    asked = config.threshold_fold
    if asked is None:
        return []
    following = (fold + 1) % len(known.names)
    inner = following if asked == "next" else known.index_of(asked)
    inner = following if inner == fold else inner
    if len(known.names) < 3:
        raise BuiltupError(
            f"threshold_fold = {asked}: two folds leave nothing to train on; leave it out, or add "
            "a city or cut blocks with generate_tiles_stats -P folds=blocks"
        )
    return [f"threshold_fold={known.names[inner]}"]


def _seeds(text: str, config: Config) -> list[int]:
    numbers = [part.strip() for part in text.split(";") if part.strip()]
    try:
        return list(dict.fromkeys(map(int, numbers))) or [int(config.seed)]
    except ValueError as e:
        raise ConfigError(f"seeds={text}: expected integers separated by ;, such as 0;1;2") from e


def _fold(task: FoldTask, parent_id: str, num_gpus: int) -> Scored:
    """Train (or keep) and score (or keep) one fold."""
    run = train_fold(task, parent_id, num_gpus)
    folder = run.folder / FOLDER
    used = {k: task.config.get(k) for k in sorted(SCORING_SETTINGS)}
    key = json.dumps([task.key, run.run_id, SCORING_VERSION, used], default=str)
    score = read_score(folder, key)
    if score is None:
        log.info("%s: scoring", task.name)
        score = score_fold(run.folder, task.config, task.fold)
        write_score(score, folder, key)
        _log_score(run, score)
    return Scored(task, run, score)


def _log_score(run: FoldRun, score: FoldScore) -> None:
    """Log a fold's scores to its run, and put its threshold into the run's summary."""
    own = tracking.client()
    figures = FoldLine.of(run, score).figures()
    for name, value in figures.items():
        if math.isfinite(value):
            own.log_metric(run.run_id, f"val/{name}", value)
    own.set_tag(run.run_id, "threshold_tuned_on", ", ".join(score.tuned_on))
    summary = Summary.find(run.folder) or Summary()
    if summary.soup is not None:  # its figures take the place of the others where it is loaded
        summary = replace(summary, soup={**summary.soup, "threshold": score.threshold})
    replace(
        summary,
        threshold=score.threshold,
        threshold_tuned_on=score.tuned_on,
        threshold_ground=score.threshold_ground,
        temperature=score.temperature,
        temperature_tuned_on=score.tuned_on if score.temperature else (),
        val_fold=score.fold,
        held_out_scores=as_json(figures),
    ).write(run.folder)
    if tracking.artifact_folder(tracking.find_run(run.run_id)) is None:
        own.log_artifacts(run.run_id, str(run.folder / FOLDER), FOLDER)
        own.log_artifact(run.run_id, str(run.folder / Summary.NAME))


def _conclude(
    scored: Sequence[Scored], kind: str, overrides: str, recorder: Recorder, folder: Path
) -> str:
    """Write the files, log the figures; return what to print."""
    rows = [row for s in scored for row in s.score.rows]
    table = BlockTable.of(rows)
    figures = figures_of(table)
    folds = [FoldLine.of(s.run, s.score) for s in scored]
    calibrated = _calibration(scored, folder)
    notes = _notes(scored)
    record = CrossValidation(
        config=scored[0].task.config.name,
        overrides=overrides,
        kind=kind,
        ground=tuple(sorted({s.score.fold for s in scored})),
        seeds=tuple(sorted({s.score.seed for s in scored})),
        weights=tuple(sorted({s.score.weights for s in scored})),
        folds=tuple(asdict(line) for line in folds),
        figures=tuple(f.to_json() for f in figures),
        calibration=calibrated,
        settings_tuned_on=_settings_ground(scored),
        notes=tuple(notes),
    )
    if seen := record.tuned_folds:
        notes.append(f"settings tuned on {', '.join(seen)}: scores there are not of unseen ground")
        record = replace(record, notes=tuple(notes))
    write_blocks(folder / BLOCKS_CSV, rows)
    write_text_atomically(folder / FOLDS_CSV, _as_csv(folds))
    record.write(folder)
    recorder.metrics(metrics_of(figures, kind), step=0)
    recorder.metrics({f"val/{name}": value for name, value in calibrated.items()}, step=0)
    ece = (
        f"expected calibration error on held-out ground: {calibrated['ece']:.4f}, "
        f"{calibrated['ece_with_temperature']:.4f} with each fold's temperature from the folds "
        "left in"
    )
    return "\n".join([_fold_table(folds), "", *summary_lines(figures, kind), ece, *notes])


def _calibration(scored: Sequence[Scored], folder: Path) -> dict[str, float]:
    """ECE of all held-out pixels pooled, without and with the folds' temperatures; a picture."""
    curves = {
        "as trained": reliability(np.sum([s.score.held_out for s in scored], axis=0)),
        "with temperature": reliability(np.sum([s.score.tempered for s in scored], axis=0)),
    }
    draw_reliability(folder / RELIABILITY_PNG, curves)
    plain, tempered = (curve.ece for curve in curves.values())
    return {"ece": plain, "ece_with_temperature": tempered}


def _settings_ground(scored: Sequence[Scored]) -> tuple[str, ...] | None:
    """The ground of the search that chose the settings; None where none did."""
    tuned_by = str(scored[0].task.config.tuned_by)
    return ground_of_search(tuned_by) if tuned_by else None


def _notes(scored: Sequence[Scored]) -> list[str]:
    notes = [
        f"weights: {' and '.join(sorted({s.score.weights for s in scored}))}, those of the end of "
        "training; checkpoint, stop and threshold never saw the held-out fold"
    ]
    for score in (s.score for s in scored):
        used, number = score.threshold_tiles
        notes.append(
            f"threshold of {score.fold}, seed {score.seed}: chosen on {used} of {number} tiles of "
            f"{score.threshold_ground}"
        )
    for s in scored:
        notes += [f"{s.score.fold}, seed {s.score.seed}: {note}" for note in s.score.notes]
    return notes


def _fold_table(folds: Sequence[FoldLine]) -> str:
    """One line a fold and seed."""
    rows = [["held out", "seed", "F1", "IoU", "threshold", "F1 at .5", "IoU at .5", "pixels"]]
    for line in folds:
        scores = (line.f1, line.iou, line.threshold, line.f1_at_half, line.iou_at_half)
        numbers = map(three_decimals, scores)
        rows.append([line.fold, str(line.seed), *numbers, f"{line.pixels:,}"])
    return text_table(rows)


def _as_csv(folds: Sequence[FoldLine]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in fields(FoldLine)])
    for line in folds:
        writer.writerow("" if value is None else value for value in as_json(astuple(line)))
    return text.getvalue()


def metrics_of(figures: Sequence[Figures], kind: str) -> dict[str, float]:
    """Names for the dashboard: val/f1 is pooled at the chosen threshold, and so on."""
    named = {"val/worst_city_f1": figures[0].worst} if kind == "city" else {}
    for f in figures:
        end = "" if f.threshold == "chosen" else "_at_half"
        s = f"{f.score}{end}"
        named |= {
            f"val/{s}": f.pooled,
            f"val/{s}_low": f.pooled_interval.low,
            f"val/{s}_high": f.pooled_interval.high,
            f"val/macro_over_folds_{s}": f.macro,
            f"val/macro_over_folds_{s}_low": f.macro_interval.low,
            f"val/macro_over_folds_{s}_high": f.macro_interval.high,
            f"val/worst_fold_{s}": f.worst,
            f"val/spread_over_folds_{s}": f.spread,
            f"val/spread_over_seeds_{s}": f.spread_over_seeds,
        }
    return named
