"""What is done already, what is redone, and the summary."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builtup.errors import BuiltupError, InputError, OutputError
from builtup.jobs import steps
from builtup.jobs.digests import sha256_of
from builtup.jobs.files import write_text_atomically
from builtup.jobs.steps import Job, Step, Summary, is_done, run_step

STEP = Step("double", 1)


def double(job: Job) -> dict[str, int]:
    """The work of these tests: the input's text, as often as the settings say."""
    text = job.inputs[0].read_text()
    if text == "bad":
        raise InputError(job.inputs[0], "bad", "mend it")
    write_text_atomically(job.outputs[0], text * job.settings["times"])
    return {"letters": len(text)}


def make_jobs(folder: Path, texts: dict[str, str], times: int = 2) -> list[Job]:
    jobs = []
    for name, text in texts.items():
        path = folder / f"{name}.txt"
        if not path.exists():
            path.write_text(text)
        output = folder / "out" / f"{name}.out"
        jobs.append(Job(name, (path,), (output,), {"times": times}, pixels=1_000_000))
    return jobs


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_are_done_once(tmp_path: Path, workers: int) -> None:
    jobs = make_jobs(tmp_path, {"a": "x", "b": "yz"})
    first = run_step(STEP, jobs, double, num_workers=workers)
    assert (first.done, first.up_to_date, first.pixels) == (2, 0, 2_000_000)
    assert first.counts == {"letters": 3}
    assert [job.outputs[0].read_text() for job in jobs] == ["xx", "yzyz"]
    again = run_step(STEP, jobs, double, num_workers=workers)
    assert (again.done, again.up_to_date) == (0, 2)
    assert again.line().startswith("double: nothing to do, 2 scenes up to date")


def test_details_name_each_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "builtup"):
        run_step(STEP, make_jobs(tmp_path, {"a": "x"}), double)
        run_step(STEP, make_jobs(tmp_path, {"a": "x", "b": "y"}), double)
    assert caplog.messages == ["double: a done", "double: a is up to date", "double: b done"]


def test_small_work_stays_in_one_process(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"a": "x", "b": "y"})
    seen: list[int] = []

    def here(job: Job) -> None:  # a closure cannot be sent to another process
        seen.append(os.getpid())
        double(job)

    run_step(Step("double", 1, spawn_above=3_000_000), jobs, here, num_workers=2)
    assert seen == 2 * [os.getpid()]


def redone(folder: Path, jobs: list[Job], step: Step = STEP) -> int:
    return run_step(step, jobs, double).done


def test_a_changed_input_redoes_its_job_and_no_other(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"a": "x", "b": "y"})
    run_step(STEP, jobs, double)
    jobs[0].inputs[0].write_text("z")  # same size
    os.utime(jobs[0].inputs[0], ns=(1, 1))
    assert redone(tmp_path, jobs) == 1
    assert jobs[0].outputs[0].read_text() == "zz"


def test_a_touched_input_redoes_nothing(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, jobs, double)
    os.utime(jobs[0].inputs[0], ns=(1, 1))
    assert redone(tmp_path, jobs) == 0


def test_a_touched_input_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, [job], double)
    hashed: list[Path] = []

    def count(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(steps, "sha256_of", count)
    os.utime(job.inputs[0], ns=(1, 1))
    assert is_done(STEP, job)
    assert is_done(STEP, job)
    assert hashed == [job.inputs[0]]


def test_a_touched_input_redoes_nothing_where_the_manifest_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, [job], double)
    os.utime(job.inputs[0], ns=(1, 1))
    before = job.manifest.read_text()
    refuse_changes(monkeypatch, job.manifest.parent)
    assert is_done(STEP, job)
    assert job.manifest.read_text() == before


def refuse_changes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let files in `folder` be read only, as on a read-only file system."""

    def refusing(change: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(path: Path, *args: Any, **options: Any) -> Any:
            if path.parent == folder:
                raise OSError(errno.EROFS, "Read-only file system")
            return change(path, *args, **options)

        return refuse

    for name in ("unlink", "write_text"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))


@pytest.mark.parametrize("times", [2, 3])  # redone for its input, or for its settings
def test_an_earlier_manifest_that_is_read_only_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"}, times=times)
    run_step(STEP, make_jobs(tmp_path, {"a": "x"}), double)
    job.inputs[0].write_text("other")
    refuse_changes(monkeypatch, job.manifest.parent)
    line = r"a\.out: cannot be written \(Read-only file system\); choose an output_path"
    with pytest.raises(OutputError, match=line):
        run_step(STEP, [job], double)
    assert run_step(STEP, [job], double, on_error="skip").skipped


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_outputs_should_be_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (job,) = make_jobs(tmp_path, {"a": "x"})
    elsewhere = replace(job, outputs=(tmp_path / place / "a.out",))
    with pytest.raises(OutputError, match=r"a\.out: cannot be written.*that is a folder"):
        run_step(STEP, [elsewhere], double)


def test_a_changed_setting_or_version_redoes_all(tmp_path: Path) -> None:
    run_step(STEP, make_jobs(tmp_path, {"a": "x", "b": "y"}), double)
    assert redone(tmp_path, make_jobs(tmp_path, {"a": "x", "b": "y"}, times=3)) == 2
    raised = Step("double", 2)
    assert redone(tmp_path, make_jobs(tmp_path, {"a": "x", "b": "y"}, times=3), raised) == 2


def test_another_input_file_redoes_the_job(tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, [job], double)
    (tmp_path / "extra.txt").write_text("")
    more = Job(job.name, (*job.inputs, tmp_path / "extra.txt"), job.outputs, job.settings)
    assert not is_done(STEP, more)


def test_a_missing_or_cut_output_is_made_again(tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, [job], double)
    for spoil in (Path.unlink, lambda path: path.write_text("")):
        spoil(job.outputs[0])
        assert redone(tmp_path, [job]) == 1
        assert job.outputs[0].read_text() == "xx"


def test_an_output_without_a_manifest_is_not_done(tmp_path: Path) -> None:
    (job,) = make_jobs(tmp_path, {"a": "x"})
    run_step(STEP, [job], double)
    for spoilt in ("{", "null", "[1, 2]", '"text"', "7"):
        job.manifest.write_text(spoilt)
        assert not is_done(STEP, job)
    known = {"version": 1, "step": "double", "settings": {"times": 2}}
    outputs = [{"name": "a.out", "size": 2}]
    for inputs in (None, [None], [7], {"a": 1}):
        job.manifest.write_text(json.dumps({**known, "outputs": outputs, "inputs": inputs}))
        assert not is_done(STEP, job)
    job.manifest.unlink()
    assert not is_done(STEP, job)


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_raises_and_skip_lists(tmp_path: Path, workers: int) -> None:
    jobs = make_jobs(tmp_path, {"a": "bad", "b": "y", "c": "z"})
    with pytest.raises(InputError, match=r"a\.txt: bad; mend it"):
        run_step(STEP, jobs, double, num_workers=workers)
    assert not jobs[0].outputs[0].exists()
    summary = run_step(STEP, jobs, double, num_workers=workers, on_error="skip")
    assert [str(problem) for problem in summary.skipped] == [f"{jobs[0].inputs[0]}: bad; mend it"]
    assert summary.done + summary.up_to_date == 2


def test_known_problems_stop_before_anything_is_written(tmp_path: Path) -> None:
    jobs = make_jobs(tmp_path, {"a": "x"})
    problem = InputError("b.txt", "lone", "add c.txt")
    with pytest.raises(InputError):
        run_step(STEP, jobs, double, problems=[problem])
    assert not jobs[0].outputs[0].exists()
    assert run_step(STEP, jobs, double, problems=[problem], on_error="skip").done == 1


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"num_workers": 0}])
def test_unknown_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BuiltupError, match=next(iter(options))):
        run_step(STEP, make_jobs(tmp_path, {"a": "x"}), double, **options)


def test_the_summary_is_one_line_with_all_figures() -> None:
    summary = Summary(
        "rasterize", done=2, up_to_date=1, pixels=3_000_000, seconds=2.0, counts={"polygons": 7}
    )
    assert summary.line() == (
        "rasterize: 2 scenes, 7 polygons, 3.0 Mpx in 2.0 s (1.5 Mpx/s), 1 up to date"
    )
    assert summary.metrics()["polygons"] == 7


def test_a_step_that_reads_no_pixels_says_nothing_of_them() -> None:
    summary = Summary("generate_tiles", done=2, seconds=2.04, counts={"tiles": 7}, up_to_date=1)
    assert summary.line() == "generate_tiles: 2 scenes, 7 tiles in 2.0 s, 1 up to date"
