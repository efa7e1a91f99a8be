"""One stair without circles, modules small enough for one idea, a test file for each."""

from __future__ import annotations

import ast
import re
import sys

import pytest

from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from house import House

PACKAGE = ROOT / "code" / "builtup"
#: From the ground up; a room may import those before it.
STAIR = (
    "errors",
    "text_table",
    "logs",
    "options",
    "option_lists",
    "jobs",
    "config",
    "geo",
    "sensors",
    "simulate",
    "models",
    "tiles",
    "data",
    "runs",
    "scoring",
    "training",
    "maps",
    "prediction",
    "studies",
    "report",
    "demo",
    "api",
    "cli",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(source):
    """The modules and packages below `builtup` that a source names: `from builtup.geo import x`,
    `from builtup import geo`, `import builtup.geo.grid`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("builtup."))


def test_every_way_to_import_is_seen():
    source = """
import numpy as np, builtup.geo.grid as grid
from builtup import tiles, __version__
from builtup.data.radar import Radar
def late():
    import builtup.report
"""
    assert set(imported(source)) == {"geo", "tiles", "__version__", "data", "report"}


def test_no_import_is_relative():
    nodes = [node for path in MODULES for node in ast.walk(ast.parse(path.read_text()))]
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in nodes)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upwards(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if room in {"__init__", "__main__"}:
        return
    above = STAIR[STAIR.index(room) + 1 :]
    assert not set(imported(path.read_text())) & set(above)


def test_no_import_closes_a_circle():
    assert House.of(ROOT).circles() == []


def behaves(path):
    """Whether a module has functions or methods of its own."""
    return any(isinstance(node, ast.FunctionDef) for node in ast.walk(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "path",
    [p for p in MODULES if not p.name.startswith("__") and behaves(p)],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_module_with_behaviour_has_a_test_file_of_its_path(path):
    place = path.relative_to(PACKAGE)
    assert (ROOT / "tests" / place.parent / f"test_{place.name}").is_file()


#: Where VV and VH are spoken of: radar's own rooms, its twins on the device, and its augmentation.
RADAR = ("sensors/radar/", "simulate/radar/", "models/radar_channels.py", "data/radar.py", "cli.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_radar_s_rooms_speak_of_polarisations(path):
    if not str(path.relative_to(PACKAGE)).startswith(RADAR):
        assert not re.search(r"(?i)(?<![a-z])(vv|vh)(?![a-z])", path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_fewer_than_400_lines(path):
    assert len(path.read_text().splitlines()) < 400


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "simulate" / "plan").glob("*.py")), ids=lambda p: p.stem
)
def test_a_simulated_plan_knows_no_sensor(path):
    text = path.read_text()
    assert "builtup.simulate.radar" not in text and "builtup.sensors" not in text


def test_code_is_no_package():
    assert not (ROOT / "code" / "__init__.py").exists()  # it would shadow the standard library
