"""Several cross-validations side by side, compared on the same blocks of ground.

Differences are paired: each resample draws the same blocks for all. Where a config was trained
with several seeds, these are drawn as well, so that the interval covers the chance in training.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builtup.config.load import config_name
from builtup.errors import BuiltupError, NoSuchRunError, RunError
from builtup.jobs.files import write_text_atomically
from builtup.runs import tracking
from builtup.runs.recorder import recording
from builtup.runs.study_records import CrossValidation
from builtup.scoring.blocks import LEVELS_AT, BlockTable, read_blocks
from builtup.scoring.bootstrap import LEVEL, RESAMPLES, SEED, Interval, interval, resample
from builtup.scoring.summary import SCORES, Figures, Score, figures_of, mean_of_defined
from builtup.scoring.tables import as_json, markdown, span, three_decimals
from builtup.studies.cross_validate import BLOCKS_CSV, FOLDER

__all__ = ["Candidate", "Difference", "compare", "differences", "read_candidate", "require_same"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A cross-validation to compare: its name, its counts, the overrides that it was run with.

    `tuned_on` are the folds that chose its settings.
    """

    name: str
    table: BlockTable
    overrides: str = ""
    tuned_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """One candidate's score minus another's, pooled and as the macro mean over folds.

    `apart` tells whether zero lies outside the interval of the macro difference (of the pooled one
    where there is one fold). `by_fold` are the folds' differences.
    """

    one: str
    other: str
    score: str
    threshold: str
    pooled: float
    pooled_interval: Interval
    macro: float
    macro_interval: Interval
    by_fold: dict[str, float]
    seeds: tuple[int, int]

    @property
    def apart(self) -> bool:
        """Whether the two can be told apart at the interval's level."""
        return self.macro_interval.low > 0 or self.macro_interval.high < 0

    def sentence(self) -> str:
        """What to make of it."""
        score = self.score.upper().replace("IOU", "IoU")
        level = f"{100 * self.macro_interval.level:g} %"
        what = f"{self.macro:+.3f}, interval {span(self.macro_interval, signed=True)}"
        if not np.isfinite(self.macro):
            return f"{self.one} and {self.other}: {score} is undefined on this ground"
        if not self.apart:
            return (
                f"{self.one} and {self.other} cannot be told apart in {score} at the {level} "
                f"level (difference {what})"
            )
        better, worse = (self.one, self.other) if self.macro > 0 else (self.other, self.one)
        return (
            f"{better} is better than {worse} in {score} at the {level} level (difference {what})"
        )


def compare(
    *, runs: str, level: float = LEVEL, resamples: int = RESAMPLES, output: str = ""
) -> str:
    """Compare cross-validations; return tables and sentences to print.

    `runs`, separated by `;`, are parent runs, configs (their newest finished cross-validation) or
    folders that hold cross_validation.json. Writes compare.json, compare.csv and compare.md into
    `output` (output/compare) and into a run. Raises BuiltupError where there are fewer than two,
    or where their ground differs.
    """
    names = [name.strip() for name in runs.split(";") if name.strip()]
    if len(names) < 2:
        raise BuiltupError(f"runs={runs}: nothing to compare; give two or more, separated by ;")
    candidates = _distinct([read_candidate(name) for name in names])
    require_same(candidates)
    figures = {c.name: figures_of(c.table, level=level, resamples=resamples) for c in candidates}
    pairs = differences(candidates, level=level, resamples=resamples)
    text = _text(candidates, figures, pairs)
    target = Path(output) if output else Path("output") / "compare"
    with recording("Trainings", "comparison of " + ", ".join(c.name for c in candidates)) as to:
        for folder in (to.folder / "compare", target):
            _write(folder, figures, pairs, text)
        to.tags({"compared": "; ".join(names)})
        for name, of in figures.items():
            macro = {f"{name}/macro_over_folds_{f.score}": f.macro for f in of[: len(SCORES)]}
            to.metrics(macro, step=0)
    return f"{text}\n\nwritten to {target}"


def read_candidate(name: str) -> Candidate:
    """A cross-validation by folder, run id or config; RunError or InputError for anything else."""
    folder, label = _folder_of(name)
    record = CrossValidation.read(folder)
    table = BlockTable.of(read_blocks(folder / BLOCKS_CSV))
    name = label or record.config
    return Candidate(name, table, record.overrides or "", record.tuned_folds)


def _folder_of(name: str) -> tuple[Path, str]:
    path = Path(name)
    if path.is_dir():
        return (path / FOLDER if (path / FOLDER).is_dir() else path), path.name
    if path.suffix == ".py":
        try:
            run = tracking.newest_run("Trainings", cross_validation_of=config_name(path))
        except NoSuchRunError as e:
            raise RunError(
                f"{name}: no finished cross-validation; run cross_validate on it first"
            ) from e
        return tracking.run_artifacts(run.info.run_id) / FOLDER, config_name(path)
    run = tracking.find_run(name)
    of = run.data.tags.get("cross_validation_of")
    if of is None:
        raise RunError(f"run_id={name}: no cross-validation; give its parent run")
    return tracking.run_artifacts(name) / FOLDER, of


def _distinct(candidates: list[Candidate]) -> list[Candidate]:
    """Number candidates that share a name."""
    names = [c.name for c in candidates]
    return [
        c if names.count(c.name) == 1 else replace(c, name=f"{c.name} {i + 1}")
        for i, c in enumerate(candidates)
    ]


def require_same(candidates: Sequence[Candidate]) -> None:
    """Raise BuiltupError, in one line, where two candidates were not scored on the same pixels."""
    first = candidates[0]
    for other in candidates[1:]:
        own, its = set(first.table.folds), set(other.table.folds)
        if own != its:
            raise BuiltupError(
                f"{first.name} and {other.name} were scored on different ground: folds "
                f"{', '.join(sorted(own ^ its))} of one only; cross-validate both on the same folds"
            )
        if first.table.places != other.table.places:
            raise BuiltupError(
                f"{first.name} and {other.name} were scored on different ground: "
                f"{len(set(first.table.places) ^ set(other.table.places))} blocks of one only; "
                "cross-validate both on the same data"
            )
        differ = (_truth(first.table) != _truth(other.table)).any(axis=1)
        if differ.any():
            place = first.table.places[int(np.flatnonzero(differ)[0])]
            raise BuiltupError(
                f"{first.name} and {other.name} were scored on different ground: {differ.sum()} "
                f"blocks, the first in {place.fold}, hold other labels or dates; cross-validate "
                "both on the same data"
            )


def _truth(table: BlockTable) -> NDArray[np.int64]:
    """Built-up and other pixels (places, 2), which are those of every seed."""
    tp, fp, fn, tn = np.moveaxis(table.counts[:, 0, 0], -1, 0)
    return np.stack([tp + fn, fp + tn], axis=1)


def differences(
    candidates: Sequence[Candidate],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    same_trainings: bool = False,
) -> list[Difference]:
    """All pairs, at the chosen threshold and at 0.5, F1 and IoU.

    `same_trainings` means that a seed is one training in all candidates, used in several ways: each
    resample then draws the same seeds for all.
    """
    counts = np.concatenate([c.table.counts for c in candidates], axis=1)
    drawn = resample(counts, candidates[0].table.strata, resamples=resamples, seed=seed)
    ends = np.cumsum([len(c.table.seeds) for c in candidates])
    parts = [slice(end - len(c.table.seeds), end) for c, end in zip(candidates, ends, strict=True)]
    seeds = _draw_seeds(parts, resamples, seed)
    if same_trainings:
        seeds = [seeds[0]] * len(parts)
    pairs = []
    for t, threshold in enumerate(LEVELS_AT):
        for name, score in SCORES.items():
            observed = [_observed(c.table, t, score) for c in candidates]
            redrawn = [
                _redrawn(drawn[:, :, part, t], chosen, score)
                for part, chosen in zip(parts, seeds, strict=True)
            ]
            for i, j in combinations(range(len(candidates)), 2):
                one, other = candidates[i], candidates[j]
                pairs.append(
                    Difference(
                        one=one.name,
                        other=other.name,
                        score=name,
                        threshold=threshold,
                        pooled=observed[i][0] - observed[j][0],
                        pooled_interval=interval(redrawn[i][0] - redrawn[j][0], level),
                        macro=float(mean_of_defined(observed[i][1] - observed[j][1])),
                        macro_interval=interval(
                            mean_of_defined(redrawn[i][1] - redrawn[j][1], axis=1), level
                        ),
                        by_fold=dict(
                            zip(
                                one.table.folds,
                                (observed[i][1] - observed[j][1]).tolist(),
                                strict=True,
                            )
                        ),
                        seeds=(len(one.table.seeds), len(other.table.seeds)),
                    )
                )
    return pairs


def _draw_seeds(parts: Sequence[slice], resamples: int, seed: int) -> list[NDArray[np.int64]]:
    """For each candidate, which of its seeds each resample takes: (resamples, seeds)."""
    generator = np.random.default_rng((seed, 1))
    sizes = [part.stop - part.start for part in parts]
    return [generator.integers(0, size, size=(resamples, size)) for size in sizes]


def _observed(table: BlockTable, t: int, score: Score) -> tuple[float, NDArray[np.float64]]:
    """The pooled score and those of the folds (folds,), means over the seeds."""
    pooled = float(score(table.counts[:, :, t].sum(axis=0)).mean())
    return pooled, score(table.by_fold()[:, :, t]).mean(axis=1)


def _redrawn(
    drawn: NDArray[np.float64], seeds: NDArray[np.int64], score: Score
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As `_observed` for sums (resamples, folds, seeds, 4): (resamples,), (resamples, folds)."""
    pooled = np.take_along_axis(score(drawn.sum(axis=1)), seeds, axis=1)
    by_fold = np.take_along_axis(score(drawn), seeds[:, None, :], axis=2)
    return pooled.mean(axis=1), by_fold.mean(axis=2)


# --- text and files -----------------------------------------------------------------------------


def _text(
    candidates: Sequence[Candidate],
    figures: dict[str, list[Figures]],
    pairs: list[Difference],
) -> str:
    rows = [["config", "F1 macro over folds", "interval", "worst", "spread", "F1 pooled"]]
    rows[0] += ["interval", "IoU macro", "F1 macro at 0.5", "seeds", "overrides"]
    for c in candidates:
        f1, iou, half = figures[c.name][:3]
        rows.append(
            [
                *(c.name, three_decimals(f1.macro), span(f1.macro_interval)),
                *(f"{three_decimals(f1.worst)} ({f1.worst_fold})", three_decimals(f1.spread)),
                *(three_decimals(f1.pooled), span(f1.pooled_interval), three_decimals(iou.macro)),
                *(three_decimals(half.macro), str(len(c.table.seeds))),
                c.overrides or "–",
            ]
        )
    of_f1 = [d for d in pairs if d.score == "f1" and d.threshold == "chosen"]
    of_folds = [["building F1", "pooled", "interval", *candidates[0].table.folds]]
    for d in of_f1:
        of_folds.append(
            [
                f"{d.one} − {d.other}",
                f"{d.pooled:+.3f}",
                span(d.pooled_interval, signed=True),
                *(f"{value:+.3f}" for value in d.by_fold.values()),
            ]
        )
    lines = [markdown(rows), "", *(d.sentence() for d in of_f1), "", markdown(of_folds), ""]
    return "\n".join([*lines, *_notes(candidates, of_f1)])


def _notes(candidates: Sequence[Candidate], pairs: Sequence[Difference]) -> list[str]:
    notes = [
        f"n = {len(candidates[0].table.places)} blocks of ground, drawn together for all; "
        "the intervals say how sure a difference is on ground of these cities, not of others"
    ]
    for c in candidates:
        if c.tuned_on:
            notes.append(
                f"{c.name}: its settings are tuned on {', '.join(c.tuned_on)}, where it may look "
                "better than on unseen ground"
            )
    single = [c.name for c in candidates if len(c.table.seeds) == 1]
    if single:
        notes.append(
            f"one seed only ({', '.join(single)}): the chance of training is not in the intervals"
        )
    if len(pairs) > 1:
        wrong = (1 - pairs[0].macro_interval.level) * len(pairs)
        notes.append(
            f"{len(pairs)} pairs were looked at: about {wrong:.1g} may come out apart by chance"
        )
    return notes


def _write(
    folder: Path, figures: dict[str, list[Figures]], pairs: list[Difference], text: str
) -> None:
    record = {
        "figures": {name: [f.to_json() for f in of] for name, of in figures.items()},
        "differences": [{**asdict(d), "apart": d.apart, "sentence": d.sentence()} for d in pairs],
    }
    write_text_atomically(folder / "compare.json", json.dumps(as_json(record), indent=1) + "\n")
    write_text_atomically(folder / "compare.md", text + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    columns = ("pooled", "macro", "worst", "worst_fold", "spread", "spread_over_seeds", "blocks")
    limits = ("pooled_low", "pooled_high", "macro_low", "macro_high")
    writer.writerow(("config", "score", "threshold", *columns, *limits))
    for name, of in figures.items():
        for f in of:
            own = [getattr(f, c) for c in columns]
            ends = [f.pooled_interval.low, f.pooled_interval.high]
            ends += [f.macro_interval.low, f.macro_interval.high]
            cells = [as_json(v) for v in (*own, *ends)]
            writer.writerow((name, f.score, f.threshold, *("" if v is None else v for v in cells)))
    write_text_atomically(folder / "compare.csv", table.getvalue())
