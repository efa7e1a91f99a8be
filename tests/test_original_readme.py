"""The tables for those who come from the original README hold what they say."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import shapely
import yaml
from click.testing import CliRunner

from builtup.cli import cli
from helpers import ROOT, TRANSFORM, city_polygons, write_polygons, write_scene

PAGE = (ROOT / "docs" / "original_readme.md").read_text(encoding="utf-8")
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
DATA = (
    "generate_3b_images", "rasterize", "generate_tiles", "generate_test_tiles",
    "generate_tiles_stats",
)  # fmt: skip


def rows(title: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def commands(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


KEPT = [command for row in rows("As they were") for command in commands(row[-1])]
CHANGED = rows("What took the place of the others")
HERE = [command for _, here, _ in CHANGED for command in commands(here)]


def parsed(command: str) -> tuple[str, dict[str, str]]:
    """The entry point of an `mlflow run experiments/ …`, and its parameters."""
    words = shlex.split(command)
    assert words[:3] == ["mlflow", "run", "experiments/"]
    entry = words[words.index("-e") + 1] if "-e" in words else "main"
    pairs = [words[i + 1] for i, word in enumerate(words) if word == "-P"]
    return entry, dict(pair.split("=", 1) for pair in pairs)


@pytest.mark.parametrize("command", [c for c in (*KEPT, *HERE) if c.startswith("mlflow run ")])
def test_an_mlflow_run_names_entry_points_parameters_and_files_that_there_are(command: str) -> None:
    entry, parameters = parsed(command)
    known = PROJECT[entry].get("parameters", {})
    assert parameters.keys() <= known.keys()
    required = {name for name, of in known.items() if "default" not in of}
    assert required <= parameters.keys()
    for name in ("script_path", "config_path"):
        if name in parameters:
            assert (ROOT / "experiments" / parameters[name]).is_file()


def test_the_first_table_has_every_step_of_the_original() -> None:
    entries = {parsed(command)[0] for command in KEPT}
    later = {"main", "ensemble", "to_submission", "merge_tiles", "all_agg_by_city", "polygonize"}
    assert entries == {*DATA, *later}


def test_the_data_steps_run_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In experiments/ of a project, as `mlflow run experiments/` runs them."""
    for name in ("experiments", "input", "output"):
        (tmp_path / name).mkdir()
    for split, city, tile in (("train", "Mosul_2015", "38SLF"), ("test", "Tikrit_2015", "38SLD")):
        write_scene(tmp_path / "data" / split, city, tile, "20150101")
    left, top = TRANSFORM @ (10, 10)
    town = [shapely.box(left, top - 200, left + 200, top)]
    write_polygons(city_polygons(tmp_path / "data" / "train", "Mosul_2015", "38SLF"), town)
    for link in commands(CHANGED[3][1]):  # as the second table says
        _, _, source, target = shlex.split(link)
        (tmp_path / target).symlink_to(source.replace("/path/to", str(tmp_path)))
    monkeypatch.chdir(tmp_path / "experiments")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    ran = []
    for command in KEPT:
        entry, parameters = parsed(command)
        if entry in DATA:
            ran.append(entry)
            options = [word for key, value in parameters.items() for word in (f"--{key}", value)]
            CliRunner().invoke(cli, [entry, *options], catch_exceptions=False)
    assert set(ran) == set(DATA)
    assert (tmp_path / "input" / "train_tiles" / "stats.json").is_file()
    assert (tmp_path / "input" / "test_tiles" / "images" / "tiles.csv").is_file()


def test_mlflow_has_what_is_named_and_has_not_what_was_replaced() -> None:
    from mlflow.cli import cli as mlflow

    for command in (*KEPT, *HERE):
        if command.startswith("mlflow "):
            known(mlflow, shlex.split(command)[1:])
    assert "`mlflow experiments list`" in PAGE
    experiments = mlflow.commands["experiments"]
    assert isinstance(experiments, click.Group)
    assert "list" not in experiments.commands


def known(command: click.Command, words: list[str]) -> None:
    """Assert that a command line names sub-commands and options that there are."""
    while isinstance(command, click.Group):
        assert words[0] in command.commands
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    given = {word.split("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
    assert given <= options


def test_what_else_is_named_is_there() -> None:
    assert "sqlite:///$PWD/output/mlflow.db" in HERE[0]
    assert not (ROOT / "code" / "scripts" / "training_uda.py").exists()
    assert "venv:" in (ROOT / "Makefile").read_text()
    template = next(c for row in CHANGED for c in commands(row[1]) if "of=XYZ" in c)
    (path,) = re.findall(r"config_path=(\S+)", template)
    assert (ROOT / path).is_file()
