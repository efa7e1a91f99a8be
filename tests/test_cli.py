"""The command line, and its agreement with the MLproject."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields

import click
import pytest
import yaml

from builtup.cli import cli
from builtup.options import PolygonOptions
from helpers import ROOT

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
DATA_COMMANDS = sorted(set(PROJECT) - {"main", "demo", "setup"})


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builtup", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "code"), "PATH": os.environ["PATH"]},
    )


def test_every_command_is_an_entry_point_and_the_reverse():
    assert set(PROJECT) == set(cli.commands)


@pytest.mark.parametrize("name", sorted(PROJECT))
def test_entry_point_has_the_command_s_parameters_and_defaults(name):
    parameters = PROJECT[name].get("parameters", {})
    options = {option.name: option for option in cli.commands[name].params}
    assert set(parameters) == set(options)
    for key, parameter in parameters.items():
        assert f"--{key} {{{key}}}" in " ".join(PROJECT[name]["command"].split())
        if "default" in parameter:
            default = options[key].default
            expected = str(default).lower() if isinstance(default, bool) else str(default)
            if isinstance(default, float):
                expected = f"{default:g}"
            assert parameter["default"] == expected, key
        else:
            assert options[key].required


@pytest.mark.parametrize("name", sorted(PROJECT))
def test_only_config_path_is_a_path_for_mlflow(name):
    for key, parameter in PROJECT[name].get("parameters", {}).items():
        assert parameter["type"] == ("path" if key == "config_path" else "str")


def test_help_of_data_commands_imports_neither_torch_nor_mlflow_nor_gdal():
    code = (
        "import sys; from builtup.cli import cli\n"
        f"for name in {DATA_COMMANDS!r}:\n"
        "    try: cli([name, '--help'], standalone_mode=False)\n"
        "    except SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'rasterio', 'fiona', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT / "code"
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_data_steps_import_neither_torch_nor_mlflow():
    code = (
        "import sys\n"
        "import builtup.tiles.prepare, builtup.simulate.dataset, builtup.maps.polygonize\n"
        "import builtup.maps.submission\n"
        "heavy = {'torch', 'mlflow'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT / "code"
    )
    assert done.returncode == 0, done.stderr


def test_bad_input_is_one_line_and_exit_status_1(tmp_path):
    done = run("generate_3b_images", "--input_path", str(tmp_path / "absent"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        f"error: {tmp_path}/absent: no such folder; check the path, or link the data there "
        "(ln -s /data/unosat/train input/train)"
    ]


def test_a_path_that_works_in_experiments_only_is_told_apart():
    done = run("generate_3b_images", "--input_path", "../no_such_input/train")
    assert done.returncode == 1
    assert "works with `mlflow run experiments/` only" in done.stderr


def test_a_wrong_option_is_refused_by_name():
    done = run("rasterize", "--all_touched", "perhaps")
    assert done.returncode == 2
    assert "all_touched" in done.stderr


def test_experiments_opens_the_same_project():
    links = ("MLproject", "python_env.yaml", "requirements.txt", "code", "configs")
    for name in (*links, "input", "output"):
        link = ROOT / "experiments" / name
        assert link.is_symlink() and link.resolve() == ROOT / name


def test_commands_speak():
    assert all(
        isinstance(command, click.Command) and command.help for command in cli.commands.values()
    )


def test_predict_has_the_defaults_of_its_recipe_and_options():
    from builtup.prediction.predict import PredictOptions
    from builtup.prediction.recipe import Recipe

    options = {option.name: option for option in cli.commands["predict"].params}
    known = {of.name: of.default for kind in (Recipe, PredictOptions) for of in fields(kind)}
    shared = options.keys() & known.keys()
    assert options.keys() - shared == {"scheduler", *(f.name for f in fields(PolygonOptions))}
    for name in shared - {"model", "input_path"}:
        assert options[name].default == ("" if known[name] is None else known[name]), name
