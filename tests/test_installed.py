"""What `pip install` leaves is whole: it works in an empty folder, without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers import ROOT


def can_build() -> bool:
    """Whether this environment has what pyproject.toml asks of one that builds."""
    if not find_spec("pip") or not find_spec("setuptools"):
        return False
    return int(version("setuptools").split(".")[0]) >= 77


pytestmark = pytest.mark.skipif(
    not can_build(), reason="no pip, or no setuptools of 77 or later: nothing to build a wheel with"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of what is in the checkout, built from a copy: building leaves things behind."""
    copy, made = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("code", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(made)]
    pip("wheel", "--quiet", *options, str(copy))
    (wheel,) = made.glob("builtup-*.whl")
    return wheel


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel installed; what it needs comes from here."""
    site = tmp_path_factory.mktemp("site")
    pip("install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return site


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def builtup(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An installed command in a folder; `MLFLOW_…` of these tests are not its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "BUILTUP_"))}
    return subprocess.run(
        [sys.executable, "-m", "builtup", *arguments],
        cwd=folder,
        env={**env, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_wheel_has_every_file_of_package_configs_and_scripts_once(wheel: Path) -> None:
    tracked = [p for p in (ROOT / "code" / "builtup").rglob("*") if p.is_file()]
    expected = {
        str(path.relative_to(ROOT / "code")) for path in tracked if "__pycache__" not in path.parts
    }
    for folder in ("configs", "code/scripts"):
        own = (ROOT / folder).rglob("*.py")
        expected |= {f"builtup/project/{path.relative_to(ROOT)}" for path in own}
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_it_is_the_installed_package_that_runs(site: Path, tmp_path: Path) -> None:
    done = builtup(site, tmp_path, "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "builtup,")
    code = "import builtup; print(builtup.__file__)"
    env = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == str(site / "builtup" / "__init__.py")


def test_data_are_simulated_and_inspected_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    options = ["--cities", "1", "--test_cities", "0", "--dates", "1", "--size", "128"]
    done = builtup(site, tmp_path, "simulate", *options, "--output_path", "input", "--quiet")
    assert done.returncode == 0, done.stderr
    done = builtup(site, tmp_path, "inspect")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("input/train/*/*.shp"))


def test_a_config_and_the_script_of_trainings_are_found_in_an_empty_folder(
    site: Path, tmp_path: Path
) -> None:
    """As far as the data, which there are none of: config, its base and the script were read."""
    done = builtup(site, tmp_path, "main", "--config_path", "configs/train/demo.py")
    *said, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert last.startswith("error: output/demo/train_tiles")
    assert any("configs/train/demo.py: not in this folder" in line for line in said)
    assert any("code/scripts/training.py: not in this folder" in line for line in said)


def test_scenes_are_mapped_in_an_empty_folder_by_the_model_that_comes_along(
    site: Path, tmp_path: Path
) -> None:
    options = ["--cities", "0", "--test_cities", "1", "--dates", "1", "--size", "128"]
    done = builtup(site, tmp_path, "simulate", *options, "--output_path", "input", "--quiet")
    assert done.returncode == 0, done.stderr
    done = builtup(site, tmp_path, "predict", "--input_path", "input/test")
    assert done.returncode == 0, done.stderr
    assert "model: shipped:radar_simulated" in done.stderr
    assert list(tmp_path.glob("output/predict/raw/*.gpkg"))
