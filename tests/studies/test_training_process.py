"""The process of a training: forked from one that has imported all, ended with the study's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from builtup.studies import training_process
from builtup.studies.training_process import run_command
from helpers import ROOT

SCRIPT = """
import os, sys, time
from pathlib import Path

here = Path(__file__).parent
(here / "imported").write_text(" ".join(sys.modules))


def run(config):
    (here / "told").write_text(f"{os.getpid()} {os.environ['TOLD']} {sys.argv[1:]}")
    time.sleep(config.seed)
"""


@pytest.fixture(autouse=True)
def begun_anew() -> Iterator[None]:
    """Python keeps one server of forks for all: other tests' has other imports."""
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()
    yield
    server._stop()


@pytest.fixture
def sleeping(tmp_path: Path) -> Callable[[int], list[str]]:
    """The command of a script that notes who it is, and sleeps."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def command(seconds: int) -> list[str]:
        (tmp_path / "config.py").write_text(f'seed = {seconds}\ndevice = "cpu"\n')
        return ["main", *(f"--{name}_path={tmp_path / name}.py" for name in ("script", "config"))]

    return command


def test_a_process_has_its_own_environment_and_says_how_it_ended(
    sleeping: Callable[[int], list[str]], tmp_path: Path
) -> None:
    before = dict(os.environ)
    assert run_command(sleeping(0), {**before, "TOLD": "it"}) == 0
    pid, told, rest = (tmp_path / "told").read_text().split(maxsplit=2)
    assert int(pid) != os.getpid() and told == "it" and rest == str(sleeping(0))
    assert run_command(["main", "--config_path", str(tmp_path / "none.py")], before) == 1
    assert os.environ == before


def test_a_process_that_is_watched_ends_when_it_is_told_so(
    sleeping: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_process, "LOOK_EVERY", 0.05)
    looks: list[int] = []

    def third() -> bool:
        looks.append(1)
        return len(looks) == 3

    environment = {**os.environ, "TOLD": "it"}
    assert run_command(sleeping(600), environment, third) == -signal.SIGTERM
    assert len(looks) == 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_ends_with_the_one_that_began_it(
    sleeping: Callable[[int], list[str]], tmp_path: Path, how: signal.Signals
) -> None:
    begin = (
        "import os; from builtup.studies.training_process import run_command; "
        f"run_command({sleeping(600)}, {{**os.environ, 'TOLD': 'it'}})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
    study = subprocess.Popen([sys.executable, "-c", begin], env=environment)
    try:
        note = tmp_path / "told"
        pid = int(_wait_for(lambda: note.is_file() and note.read_text().split())[0])
        assert _parent_of(pid) not in {os.getpid(), study.pid}  # forked from one with the imports
    finally:
        study.send_signal(how)
        study.wait()
    assert _wait_for(lambda: not _alive(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each begins anew")
def test_imports_are_made_once_and_no_config_s_among_them(
    sleeping: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """What a training needs is there before its script is read; it takes no second to begin."""
    environment = {**os.environ, "TOLD": "it"}
    assert run_command(sleeping(0), environment) == 0
    began = time.monotonic()
    assert run_command(sleeping(0), environment) == 0
    assert time.monotonic() - began < 5  # torch and mlflow alone take about that
    imported = (tmp_path / "imported").read_text().split()
    assert {"torch", "mlflow", "ignite", "builtup.training.handlers"} <= set(imported)


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def _wait_for(ready: Any, seconds: int = 60) -> Any:
    for _ in range(int(seconds * 20)):
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")
