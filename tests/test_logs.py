"""What a command says: how much, with which times, and into which file."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tqdm import tqdm

from builtup import logs
from builtup.errors import InputError, OutputError
from builtup.jobs.executors import worker_pool
from builtup.options import Group

LOG = logging.getLogger("builtup.maps.cities")
BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
TIME = r"\d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Levels and handlers are the process's; other tests want theirs."""
    names = ["", "builtup", "rasterio", "fiona", "fiona._env", "pyogrio", "botocore"]
    loggers = [logging.getLogger(name) for name in names]
    levels, handlers = [of.level for of in loggers], list(logging.getLogger().handlers)
    for name in (logs.QUIET, logs.VERBOSE, logs.LOG_FILE, "MLFLOW_LOGGING_LEVEL", BAR):
        monkeypatch.setenv(name, "")  # so that they are taken away again
        monkeypatch.delenv(name)
    yield
    for of, level in zip(loggers, levels, strict=True):
        of.setLevel(level)
    logging.getLogger().handlers[:] = handlers


@click.group(cls=Group)
def tool() -> None:
    """Stands for the command line."""


@tool.command()
def step() -> None:
    LOG.debug("a detail")
    logging.getLogger("matplotlib").debug("a detail of another library")
    LOG.info("a choice")
    LOG.warning("passed over")
    logs.say("step: 3 scenes")


@tool.command()
@click.option("--kind", default="input")
def failing(kind: str) -> None:
    if kind == "bug":
        raise ZeroDivisionError("no\nnumber")
    raise InputError("a.tif", "is empty", "remove\nit")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[str, str, int]:
    """stdout, stderr and exit status of `builtup <arguments>`."""
    monkeypatch.setattr(sys, "argv", ["builtup", *arguments])
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    status = 0
    try:
        with logs.ending():
            logs.begin()
            tool(standalone_mode=False)
    except SystemExit as e:
        status = int(e.code or 0)
    return out.getvalue(), err.getvalue(), status


def test_log_lines_have_their_time_and_results_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err, _ = run(monkeypatch, "step")
    assert out == "step: 3 scenes\n"
    assert re.fullmatch(rf"{TIME} INFO: a choice\n{TIME} WARNING: passed over\n", err)


@pytest.mark.parametrize("where", ["before", "after"])
def test_quiet_leaves_warnings_and_results(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    order = ("--quiet", "step") if where == "before" else ("step", "--quiet")
    out, err, _ = run(monkeypatch, *order)
    assert out == "step: 3 scenes\n"
    assert re.fullmatch(rf"{TIME} WARNING: passed over\n", err)
    assert logs.no_bars() is True
    assert (os.environ["MLFLOW_LOGGING_LEVEL"], os.environ[BAR]) == ("WARNING", "false")


def test_bars_are_there_on_a_terminal_unless_quiet() -> None:
    assert logs.no_bars() is None


def test_verbose_says_our_details_only(monkeypatch: pytest.MonkeyPatch) -> None:
    _, err, _ = run(monkeypatch, "step", "--verbose")
    assert re.match(rf"{TIME} DEBUG: a detail\n", err)
    assert "another library" not in err


def test_quiet_and_verbose_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    for order in (("step", "--quiet", "--verbose"), ("--verbose", "step", "--quiet")):
        out, err, status = run(monkeypatch, *order)
        assert (out, status) == ("", 2)
        assert "--quiet and --verbose exclude each other" in err


def test_what_was_asked_holds_over_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(logs.VERBOSE, "1")
    assert "DEBUG" in run(monkeypatch, "step")[1]
    assert "INFO" not in run(monkeypatch, "step", "--quiet")[1]
    assert logs.VERBOSE not in os.environ


def test_the_log_file_has_all_of_it_from_the_command_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a run.log"
    run(monkeypatch, "step", "--quiet", "--log-file", str(path))
    kept = run(monkeypatch, "failing", "--log-file", str(path))
    assert kept == ("", "error: a.tif: is empty; remove it\n", 1)
    lines = path.read_text().splitlines()
    assert all(re.match(rf"\d{{4}}-\d\d-\d\d {TIME} [A-Z]+: ", line) for line in lines)
    said = [line.split(maxsplit=2)[2] for line in lines]
    about = [line for line in said if re.match("DEBUG: builtup [0-9.]+, Python .*, in /", line)]
    assert said[1] == said[7] == about[0]
    assert [line for line in said if line not in about] == [
        f"INFO: builtup step --quiet --log-file '{path}'",
        "DEBUG: a detail",
        "INFO: a choice",
        "WARNING: passed over",
        "INFO: step: 3 scenes",
        f"INFO: builtup failing --log-file '{path}'",
        "ERROR: error: a.tif: is empty; remove it",
    ]


def test_a_log_file_of_the_environment_begins_with_the_command_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    monkeypatch.setenv(logs.LOG_FILE, str(path))
    run(monkeypatch, "step", "--log-file", str(path))
    lines = path.read_text().splitlines()
    assert lines[0].endswith(f"INFO: builtup step --log-file {path}")
    assert len([line for line in lines if "builtup step" in line]) == 1


def test_the_log_file_has_the_traceback_of_a_bug(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, "failing", "--kind", "bug", "--log-file", str(tmp_path / "log"))
    assert "ERROR: Traceback" in (tmp_path / "log").read_text()


def test_a_log_file_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for path in (tmp_path / "absent" / "log", tmp_path):
        out, err, status = run(monkeypatch, "step", "--log-file", str(path))
        assert (out, status) == ("", 1)
        assert err.startswith(f"error: {path}: cannot be written (")
        assert err.count("\n") == 1
    monkeypatch.setenv(logs.LOG_FILE, str(tmp_path / "absent" / "log"))
    with pytest.raises(OutputError):
        logs.set_up()


def test_of_several_processes_one_speaks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(logs.VERBOSE, "1")
    logs.set_up(logging.ERROR)
    LOG.debug("a")
    LOG.warning("b")
    LOG.error("c")
    assert re.fullmatch(rf"{TIME} ERROR: c\n", capsys.readouterr().err)


def test_a_line_is_said_once_however_often_it_is_set_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up()
    logs.set_up()
    LOG.info("once")
    assert capsys.readouterr().err.count("once") == 1


def warn(text: str) -> None:
    LOG.info("an example of %s", text)
    LOG.warning(text)


def test_a_worker_writes_its_warnings_into_the_log_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    monkeypatch.setenv(logs.LOG_FILE, str(path))
    with worker_pool(1) as pool:
        pool.submit(warn, "far away").result()
    assert re.fullmatch(r"\S+ \S+ WARNING: far away\n", path.read_text())


def test_a_bar_makes_way_for_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    logs.set_up()
    with tqdm(total=3, desc="step", file=screen, disable=False):
        LOG.info("between")
    assert re.search(rf"(\r|\n) *\r?{TIME} INFO: between\n", screen.getvalue())


def test_the_help_of_every_command_has_them() -> None:
    for arguments in (["--help"], ["step", "--help"]):
        shown = CliRunner().invoke(tool, arguments, catch_exceptions=False).output
        assert all(option in shown for option in ("--quiet", "--verbose", "--log-file"))


def test_a_warning_is_said_once_a_process(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        logs.warn_once("a.tif: passed over")
    assert [record.getMessage() for record in caplog.records] == ["a.tif: passed over"]
