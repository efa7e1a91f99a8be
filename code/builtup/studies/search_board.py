"""What a search has to show: a record, a table of its trials, and what to do with the best."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from builtup.jobs.files import write_text_atomically
from builtup.runs import tracking
from builtup.runs.going_on import command
from builtup.runs.study_records import FAILED, FINISHED, PRUNED, SearchRecord, TrialLine
from builtup.scoring.tables import three_decimals
from builtup.studies.search_plan import LENGTH
from builtup.studies.search_space import as_overrides, axes_of, importance_of, without
from builtup.studies.search_study import OVERRIDES, REASON, RUNS, ended_trials, killed_trials
from builtup.text_table import text_table

__all__ = ["TRIALS_CSV", "Board", "sentence_of"]

TRIALS_CSV = "trials.csv"
#: Trials in what is printed.
PRINTED = 10
_STATES = {
    TrialState.COMPLETE: FINISHED,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}


@dataclass(frozen=True)
class Board:
    """The record of a search, kept in `folder` of its run's artifacts as trials end.

    `record` is what is known before the first trial.
    """

    record: SearchRecord
    study: optuna.Study
    run_id: str
    folder: Path

    def write(self) -> SearchRecord:
        """Write search.json and trials.csv, and name the best in the run's tags."""
        ended = ended_trials(self.study)
        record = replace(
            self.record,
            axes=axes_of(ended),
            trials=tuple(map(_line, ended)),
            killed=killed_trials(self.study),
            importance=importance_of(self.study) or None,
        )
        place = self.folder / SearchRecord.FOLDER
        record.write(place)
        write_text_atomically(place / TRIALS_CSV, _as_csv(record))
        own = tracking.client()
        if tracking.artifact_folder(tracking.find_run(self.run_id)) is None:
            own.log_artifacts(self.run_id, str(place), SearchRecord.FOLDER)  # trials read it there
        if record.best is not None:
            tags = {"best_trial": str(record.best.number), "best_overrides": record.best.overrides}
            for name, text in {**tags, "best_run": record.best.runs[0]}.items():
                own.set_tag(self.run_id, name, tracking.shortened(text))
        return record

    def text(self, record: SearchRecord) -> str:
        """The best trials as a table, and the command that trains with the best settings."""
        states = [line.state for line in record.trials]
        counts = [f"{states.count(s)} {s}" for s in (FINISHED, PRUNED, FAILED) if s in states]
        if record.killed:
            counts.append(f"{record.killed} stopped with the search and asked again")
        lines = [
            _table(record),
            "",
            f"{len(states)} of {record.wanted} trials: {', '.join(counts)}",
        ]
        if record.best is None:
            return "\n".join([*lines, "none has finished: there are no settings to train with"])
        if record.importance:
            shares = [f"{name} {share:.2f}" for name, share in record.importance.items()]
            lines.append(f"what set the best apart: {', '.join(shares)}")
        return "\n".join(
            [
                *lines,
                f"best: {sentence_of(record.best, record.metric)}",
                f"its settings were chosen on {', '.join(record.ground)}: scores of a training "
                f"with tuned_by={self.run_id} are marked as tuned on there",
                f"train with: {self.way_on(record)}",
            ]
        )

    def way_on(self, record: SearchRecord) -> str:
        """The command that trains with the best settings."""
        best = "" if record.best is None else record.best.overrides
        kept = without(record.overrides or "", LENGTH)
        tuned = as_overrides({"tuned_by": self.run_id})
        said = filter(None, [record.lengths, kept, best, tuned])
        return command(record.train or "", " ".join(said))


def _line(trial: FrozenTrial) -> TrialLine:
    reached = trial.intermediate_values
    value = trial.value
    if trial.state == TrialState.PRUNED and reached:
        value = reached[max(reached)]
    minutes = None if trial.duration is None else round(trial.duration.total_seconds() / 60, 3)
    return TrialLine(
        number=trial.number,
        state=_STATES[trial.state],
        value=value,
        overrides=str(trial.user_attrs.get(OVERRIDES, "")),
        params=dict(trial.params),
        validations=tuple(reached[step] for step in sorted(reached)),
        runs=tuple(trial.user_attrs.get(RUNS, ())),
        minutes=minutes,
        reason=trial.user_attrs.get(REASON),
    )


def sentence_of(line: TrialLine, metric: str) -> str:
    """A trial in words, for the log."""
    if line.state == FAILED:
        return f"trial {line.number} failed: {line.reason}"
    value = "undefined" if line.value is None else three_decimals(line.value)
    how = f", pruned at validation {len(line.validations)}" if line.state == PRUNED else ""
    return f"trial {line.number}: {metric} {value}{how}, {line.overrides}"


def _ranked(record: SearchRecord) -> list[TrialLine]:
    """Finished trials, the best first, then the others in their order."""
    order = (FINISHED, PRUNED, FAILED)
    return sorted(record.trials, key=lambda t: (order.index(t.state), -(t.value or 0.0), t.number))


def _table(record: SearchRecord) -> str:
    rows = [["trial", record.metric, "", "validations", "minutes", "settings"]]
    for line in _ranked(record)[:PRINTED]:
        value = "" if line.value is None else three_decimals(line.value)
        minutes = "" if line.minutes is None else f"{line.minutes:.1f}"
        count = str(len(line.validations))
        rows.append([str(line.number), value, line.state, count, minutes, line.overrides])
    return text_table(rows)


def _as_csv(record: SearchRecord) -> str:
    names: Sequence[str] = [axis.name for axis in record.axes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["trial", "state", record.metric, "validations", "minutes", *names]
    writer.writerow([*columns, "overrides", "runs", "reason"])
    for line in record.trials:
        tried = [(line.params or {}).get(name, "") for name in names]
        figures = [line.number, line.state, line.value, len(line.validations), line.minutes]
        last = [line.overrides, ";".join(line.runs), line.reason]
        writer.writerow("" if v is None else v for v in [*figures, *tried, *last])
    return text.getvalue()
