"""The command line, and its agreement with the MLproject."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from dataclasses import fields
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from builtup.cli import cli
from builtup.options import PolygonOptions
from helpers import ROOT

PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
DATA_COMMANDS = [*sorted(set(PROJECT) - {"demo", "setup"}), "train", "infer"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builtup", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "code"), "PATH": os.environ["PATH"]},
    )


#: Names for `main` with its script filled in.
NAMES_OF_MAIN = {"train", "infer"}


def test_every_command_is_an_entry_point_and_the_reverse():
    assert set(PROJECT) == set(cli.commands) - NAMES_OF_MAIN


def test_train_and_infer_are_main_with_its_script(monkeypatch):
    ran = []
    launch = types.ModuleType("builtup.config.launch")
    launch.run_script = lambda script, **options: ran.append((script, options))
    monkeypatch.setitem(sys.modules, "builtup.config.launch", launch)
    config = "configs/train/demo.py"
    options = ["--config_path", config, "--overrides", "seed=1"]
    for name in ("train", "infer", "main"):
        CliRunner().invoke(cli, [name, *options], catch_exceptions=False)
    training, inference, main = ran
    assert [str(script) for script, _ in ran] == [
        "code/scripts/training.py", "code/scripts/inference.py", "code/scripts/training.py",
    ]  # fmt: skip
    assert training[1] == inference[1] == main[1]
    assert training[1] == {
        "config_path": Path(config), "num_gpus": 1, "nodes": 1, "overrides": "seed=1",
    }  # fmt: skip


OPTIONS = [
    pytest.param(option, id=f"{name}-{option.name}")
    for name, command in cli.commands.items()
    for option in command.get_params(click.Context(command))
    if option.name != "help"
]
UNITS = (
    "pixel", "cities", "dates of", "process", "machines", "windows", "minutes", "metres", "m²",
    "chips", "whole number", "0 to 1", "probability",
)  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_says_what_it_is_its_unit_and_its_default(option):
    assert option.help
    if option.default == "":
        assert re.search(r"by default|, or that of all", option.help)
    elif not option.required and not option.is_flag and option.expose_value:
        assert option.default is not None  # click shows it
    if isinstance(option.type, click.types.IntParamType | click.types.FloatParamType):
        assert any(unit in option.help for unit in UNITS)


def test_an_empty_default_is_said_in_words_only():
    shown = CliRunner().invoke(cli, ["polygonize", "--help"], catch_exceptions=False).output
    assert '""' not in shown
    assert "by default" in shown
    assert "[default: 2; x>=1]" in " ".join(shown.split())


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
    assert options.keys() - shared == {"scheduler", *PolygonOptions._fields}
    for name in shared - {"model", "input_path"}:
        assert options[name].default == ("" if known[name] in (None, ()) else known[name]), name


#: Pages whose commands are those of now.
PAGES = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    if path.name not in {"history.md", "original_readme.md"}
)
COMMAND = re.compile(r"(?:^|[\s;`(])builtup ([a-z]\w*)((?: +(?:\"[^\"]*\"|[^\s`\"]+))*)", re.M)
INLINE = re.compile(r"`([a-z]\w*)( --[^`]*)`")
STEP = re.compile(r"mlflow run \S+.*? -e (\w+)((?: +(?:\"[^\"]*\"|[^\s`\"]+))*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_of_the_docs_exist_with_their_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for name, rest in (*COMMAND.findall(text), *INLINE.findall(text)):
        if name not in cli.commands and "--" not in rest:
            continue  # a sentence about builtup
        assert name in cli.commands, f"builtup {name}"
        known = {option for of in cli.commands[name].params for option in of.opts}
        given = re.findall(r" (--[a-z][\w-]*)", re.sub(r'"[^"]*"', '""', rest))
        assert {*given} <= known, f"builtup {name}"
    for name, rest in STEP.findall(text):
        assert name in PROJECT, f"-e {name}"
        given = re.findall(r"-P (\w+)=", rest)
        assert {*given} <= {*PROJECT[name].get("parameters", {})}, f"-e {name}"
