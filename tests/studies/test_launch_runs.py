"""A fold's training: known by its key, gone on with after a kill, pruned while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import RunError
from builtup.runs import tracking
from builtup.studies import launch_runs as runs
from builtup.studies.cross_validate import cross_validate, plan
from tiny_folds import children, newest_parent, train_in_threads


def test_another_setting_is_another_training(done: str, cities: Path, project: Path) -> None:
    key = plan(cities / "tiny.py", "", "", "num_epochs=6")[0][0].key
    same = plan(cities / "tiny.py", "", "", "num_epochs=6 log_interval=3 tta=d4")[0][0].key
    other = plan(cities / "tiny.py", "", "", "num_epochs=6 lr=0.5")[0][0].key
    assert key == same != other


KILLED_ONCE = """
import os
import signal


class Killed(torch.optim.lr_scheduler.LambdaLR):
    def step(self, *args):
        super().step(*args)
        if "TINY_KILL" in os.environ and self.last_epoch == 12:
            os.kill(os.getpid(), signal.SIGKILL)


def lr_scheduler(optimizer):
    return Killed(optimizer, lambda n: 1.0)
"""


def test_a_killed_training_goes_on_where_it_was(
    cities: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fold's process is killed in its third epoch; the same command goes on from the second."""
    path = cities / "killed.py"
    path.write_text((cities / "tiny.py").read_text() + KILLED_ONCE)
    options = {"config_path": path, "folds": "Beta", "overrides": "num_epochs=4"}
    monkeypatch.setenv("TINY_KILL", "1")
    with pytest.raises(RunError, match=r"fold 38SBB_Beta: its training failed \(exit status -9"):
        cross_validate(**options)
    monkeypatch.delenv("TINY_KILL")
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    (killed,) = own.search_runs(
        [experiment], filter_string="tags.fold = '38SBB_Beta' and attributes.status = 'KILLED'"
    )
    started = train_in_threads(monkeypatch)
    text = cross_validate(**options)
    assert f"resume_from={killed.info.run_id}" in started[0]
    folds = {run.data.tags["fold"]: run.info.run_id for run in children(newest_parent("killed"))}
    first = min(p.step for p in own.get_metric_history(folds["38SBB_Beta"], "train/loss"))
    assert first > 10  # two epochs of five steps were done
    assert "38SBB_Beta" in text


def test_runs_that_a_killed_process_left_running_are_said_to_be_killed(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    task = plan(cities / "tiny.py", "Alpha", "", "num_epochs=6")[0][0]
    parent = own.create_run(experiment).info.run_id
    tags = {runs.PARENT: parent, runs.KEY: task.key}
    child = own.create_run(experiment, tags=tags).info.run_id
    text = cross_validate(
        config_path=cities / "tiny.py",
        folds="Alpha",
        overrides="num_epochs=6",
        output="output/killed",
    )
    assert in_process == []
    assert [own.get_run(r).info.status for r in (parent, child)] == ["KILLED", "KILLED"]
    assert own.get_run(text.split()[-1]).info.status == "FINISHED"


def test_a_failed_training_is_one_line_that_names_the_fold(
    cities: Path, project: Path, in_process: list[str]
) -> None:
    path = cities / "bad.py"
    path.write_text((cities / "tiny.py").read_text().replace("CrossEntropy(1.0, 1.0)", "Nan()"))
    nan = "\n\nclass Nan(nn.Module):\n    def forward(self, logits, target):\n"
    path.write_text(path.read_text() + nan + "        return logits.sum() * float('nan')\n")
    with pytest.raises(RunError, match=r"fold 38SAA_Alpha: its training failed \(.*loss is nan"):
        cross_validate(config_path=path, folds="Alpha")


def test_a_pruned_training_closes_its_run_and_is_not_begun_again_in_vain(
    cities: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process, ended once it has learnt a while; what came then ends the next at once."""
    task = plan(cities / "tiny.py", "Alpha", "", "num_epochs=400 lr=0.0123")[0][0]
    looks: list[str] = []

    def has_learnt(run_id: str) -> bool:
        looks.append(run_id)
        return len(runs.history_of(run_id, "train/loss")) > 3

    first = runs.train_fold(task, "", 1, has_learnt)
    assert first.pruned and not first.kept
    run = tracking.find_run(first.run_id)
    assert (run.info.status, run.data.tags["pruned"]) == ("KILLED", "true")
    assert run.info.end_time is not None and "error" not in run.data.tags
    assert (first.folder / "checkpoints" / "last.pt").is_file()
    started = train_in_threads(monkeypatch)
    again = runs.train_fold(task, "", 1, has_learnt)
    assert again.pruned and started == [] and looks[-1] == again.run_id
    tags = tracking.find_run(again.run_id).data.tags
    assert (tags[runs.RESUMED], tags["pruned"]) == (first.run_id, "true")
    batches = "cfg/batches_per_epoch"
    assert runs.parameter_of(again.run_id, batches) == run.data.params[batches] != ""


def test_a_training_pruned_when_it_had_learnt_all_is_not_gone_on_with(
    cities: Path, project: Path, in_process: list[str]
) -> None:
    """It ended in the same second: there is no epoch left, and its scores were no other's."""
    task = plan(cities / "tiny.py", "Alpha", "", "num_epochs=1 lr=0.0321")[0][0]
    first = runs.train_fold(task, "", 1)
    own = tracking.client()
    own.set_terminated(first.run_id, "KILLED")
    own.set_tag(first.run_id, runs.PRUNED, "true")
    second = runs.train_fold(task, "", 1)
    assert len(in_process) == 2 and not any("resume_from" in text for text in in_process)
    assert not second.kept and second.run_id != first.run_id
    assert tracking.find_run(first.run_id).info.status == "KILLED"


def test_a_history_goes_on_where_a_run_goes_on_from_another(project: Path) -> None:
    own = tracking.client()
    experiment = tracking.experiment_id(own, "Trainings")
    before = ""
    for points in ({5: 0.1, 10: 0.2, 15: 0.9}, {10: 0.3, 15: 0.4}):
        run = own.create_run(experiment, tags={runs.RESUMED: before} if before else {})
        before = run.info.run_id
        for step, value in points.items():
            own.log_metric(before, "val/iou", value, step=step)
    assert runs.history_of(before, "val/iou") == {5: 0.1, 10: 0.3, 15: 0.4}
