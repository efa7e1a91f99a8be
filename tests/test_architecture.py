"""Nothing imports upwards, and modules stay small enough for one idea."""

from __future__ import annotations

import ast

import pytest

from helpers import ROOT

PACKAGE = ROOT / "code" / "builtup"
#: From the ground up; a package may import those before it. `models` and `data` are independent.
LAYERS = (
    "raster",
    "sar",
    "labels",
    "tiles",
    "data",
    "models",
    "training",
    "inference",
    "predict",
    "validation",
    "report",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("builtup."):
            yield node.module.split(".")[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_imports_upwards(path):
    layer = path.relative_to(PACKAGE).parts[0]
    if layer not in LAYERS:
        return
    above = LAYERS[LAYERS.index(layer) + 1 :]
    assert not set(imported(path)) & set(above)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_has_fewer_than_400_lines(path):
    assert len(path.read_text().splitlines()) < 400


def test_code_is_no_package():
    assert not (ROOT / "code" / "__init__.py").exists()  # it would shadow the standard library
