"""Scripts and devices that a launch refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from builtup.config import launch
from builtup.errors import ConfigError, InputError
from helpers import ROOT


def script(folder: Path, text: str) -> Path:
    path = folder / "script.py"
    path.write_text(text)
    return path


def a_config(folder: Path, text: str = "") -> Path:
    path = folder / "config.py"
    path.write_text(text)
    return path


def test_a_script_gets_the_config_with_its_overrides(tmp_path: Path) -> None:
    text = "def run(config):\n    open(config.data_path, 'w').write(str(config.num_processes))\n"
    target = tmp_path / "out"
    launch.run_script(script(tmp_path, text), a_config(tmp_path), 1, f"data_path={target}")
    assert target.read_text() == "1"


def test_a_script_that_is_missing_or_has_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.py: no such script; check script_path"):
        launch.load_script(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match=r"script\.py: has no function run\(config\)"):
        launch.load_script(script(tmp_path, "x = 1\n"))


#: Trains a line on what each process sees of its own; the first one writes what was learnt.
LEARNING = """
import ignite.distributed as idist
import torch

def run(config):
    torch.manual_seed(config.seed)
    model = idist.auto_model(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.arange(8.0).reshape(2, 4) + idist.get_rank()
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) - idist.get_rank()).square().mean().backward()
        optimizer.step()
    assert config.num_processes == idist.get_world_size() == 2
    if idist.get_rank() == 0:
        torch.save([p.detach() for p in model.parameters()], config.data_path)
"""


def torchrun(script_path: Path, config_path: Path, *options: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = ["-m", "builtup", "main", "--script_path", str(script_path)]
    return subprocess.run(
        [*launcher, *command, "--config_path", str(config_path), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "code"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_processes_of_torchrun_learn_what_those_of_num_gpus_learn(tmp_path: Path) -> None:
    learnt = []
    learning = script(tmp_path, LEARNING)
    for way in ("own", "torchrun"):
        target = tmp_path / f"{way}.pt"
        settings = a_config(tmp_path, f"seed = 3\ndevice = 'cpu'\ndata_path = {str(target)!r}\n")
        if way == "own":
            launch.run_script(learning, settings, 2)
        else:
            done = torchrun(learning, settings)
            assert done.returncode == 0, done.stderr
        learnt.append(torch.load(target))
    assert all(torch.equal(one, other) for one, other in zip(*learnt, strict=True))


def test_processes_of_two_nodes_learn_what_those_of_one_learn(tmp_path: Path) -> None:
    learning = script(tmp_path, LEARNING)
    learnt = []
    for nodes in (1, 2):
        target = tmp_path / f"{nodes}.pt"
        settings = a_config(tmp_path, f"seed = 3\ndevice = 'cpu'\ndata_path = {str(target)!r}\n")
        command = [sys.executable, "-m", "builtup", "main", "--script_path", str(learning)]
        command += ["--config_path", str(settings), "--nodes", str(nodes)]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(launch._free_port())}
        place |= {"PYTHONPATH": str(ROOT / "code"), "OMP_NUM_THREADS": "1"}
        running = [
            subprocess.Popen(
                [*command, "--num_gpus", str(2 // nodes)],
                env={**os.environ, **place, "NODE_RANK": str(rank)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(nodes)
        ]
        said = [process.communicate()[1] for process in running]
        assert [process.returncode for process in running] == [0] * nodes, said
        learnt.append(torch.load(target))
    assert all(torch.equal(one, other) for one, other in zip(*learnt, strict=True))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "nodes=2: MASTER_ADDR, MASTER_PORT, NODE_RANK not set; export"),
        ({"MASTER_ADDR": "x", "MASTER_PORT": "1"}, "nodes=2: NODE_RANK not set; export"),
        ({"MASTER_ADDR": "x", "MASTER_PORT": "1", "NODE_RANK": "2"}, "NODE_RANK=2: of 2 nodes"),
        ({"MASTER_ADDR": "x", "MASTER_PORT": "p", "NODE_RANK": "0"}, "MASTER_PORT=p .*numbers"),
    ],
)
def test_a_node_that_does_not_know_its_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: dict[str, str], message: str
) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    nothing = script(tmp_path, "def run(config): pass\n")
    with pytest.raises(ConfigError, match=message):
        launch.run_script(nothing, a_config(tmp_path), nodes=2)


def test_an_error_under_torchrun_is_one_line_and_ends_all(tmp_path: Path) -> None:
    text = (
        "import ignite.distributed as idist\nfrom builtup.errors import ConfigError\n"
        "def run(config):\n"
        "    if idist.get_rank() == 1:\n        raise ConfigError('one of them: wrong; mend it')\n"
        "    idist.barrier()\n"
    )
    done = torchrun(script(tmp_path, text), a_config(tmp_path, "device = 'cpu'\n"))
    assert done.returncode != 0
    assert "error: one of them: wrong; mend it" in done.stderr


def test_num_gpus_that_contradicts_torchrun_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x"}
    for name, value in {**place, "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="is 3: torchrun has started 2 processes; leave"):
        launch.run_script(script(tmp_path, "def run(config): pass\n"), a_config(tmp_path), 3)
