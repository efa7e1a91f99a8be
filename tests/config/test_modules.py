"""Modules beside a config: imported from there, kept with the run, loaded again from it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from builtup.config.load import load, load_logged
from builtup.errors import ConfigError
from builtup.runs.manifest import write_config

CONFIG = """
from mine_net import width
from mine_parts.inner import depth

lr = 0.1


def model():
    import mine_late

    return width, depth, mine_late.name, lr
"""


def write(folder: Path, width: int = 4) -> Path:
    (folder / "mine_parts").mkdir(parents=True)
    (folder / "mine_net.py").write_text(f"from mine_other import two\nwidth = two * {width}\n")
    (folder / "mine_other.py").write_text("two = 2\n")
    (folder / "mine_late.py").write_text(f"name = 'late{width}'\n")
    (folder / "mine_parts" / "__init__.py").write_text("")
    (folder / "mine_parts" / "inner.py").write_text("depth = 3\n")
    (folder / "unused.py").write_text("raise RuntimeError\n")
    path = folder / "cfg.py"
    path.write_text(CONFIG)
    return path


def test_modules_travel_with_the_config_and_are_loaded_from_there(tmp_path: Path) -> None:
    config = load(write(tmp_path / "first"), "lr=0.2")
    before = list(sys.path)
    assert config.build("model") == (8, 3, "late4", 0.2)
    write_config(config, tmp_path / "run")
    kept = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*.py")}
    assert kept == {
        *("cfg.py", "mine_net.py", "mine_other.py", "mine_late.py"),
        *("mine_parts/__init__.py", "mine_parts/inner.py"),
    }
    for file in (tmp_path / "first").rglob("*.py"):
        file.unlink()
    assert load_logged(tmp_path / "run").build("model") == (8, 3, "late4", 0.2)
    assert sys.path == before
    assert not list((tmp_path / "run").rglob("__pycache__"))


def test_modules_of_one_name_of_two_runs_are_kept_apart(tmp_path: Path) -> None:
    first, second = load(write(tmp_path / "a", 4)), load(write(tmp_path / "b", 5))
    assert second.build("model")[:3] == (10, 3, "late5")
    assert first.build("model")[:3] == (8, 3, "late4")


def test_two_modules_of_one_name_in_a_config_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", 4)
    path = write(tmp_path / "b", 5)
    path.write_text('base = "../a/cfg.py"\nimport mine_late\n')
    with pytest.raises(ConfigError, match=r"mine_late\.py: a module of that name .*different"):
        load(path)


def test_a_module_that_only_the_config_can_find_is_named(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "far_away_net.py").write_text("width = 4\n")
    path = tmp_path / "cfg.py"
    path.write_text(
        f"import sys\nsys.path.append({str(tmp_path / 'lib')!r})\nimport far_away_net\n"
        "import numpy\ntry:\n    import not_there_at_all\nexcept ImportError:\n    pass\n"
    )
    try:
        assert load(path).modules.left_behind == ("far_away_net",)
    finally:
        sys.path.remove(str(tmp_path / "lib"))


def test_a_module_with_an_error_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "mine_net.py").write_text("width = (\n")
    with pytest.raises(ConfigError, match=r"mine_net\.py: line 1: .*correct the Python"):
        load(path)
