"""Scripts and devices that a launch refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from builtup import config, launch
from builtup.errors import ConfigError, InputError


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
    config.run_script(script(tmp_path, text), a_config(tmp_path), 1, f"data_path={target}")
    assert target.read_text() == "1"


def test_a_script_that_is_missing_or_has_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.py: no such script; check script_path"):
        launch.load_script(tmp_path / "nowhere.py")
    with pytest.raises(InputError, match=r"script\.py: has no function run\(config\)"):
        launch.load_script(script(tmp_path, "x = 1\n"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="device = 'cuda': no CUDA here; use auto or cpu"):
        launch.pick_device(config.load(a_config(tmp_path, "device = 'cuda'")))
