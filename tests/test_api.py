"""What `from builtup import …` offers: what the commands do, as paths and figures."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

import builtup
from builtup import api
from helpers import (
    ROOT,
    TRANSFORM,
    city_polygons,
    speckle,
    write_polygons,
    write_raster,
    write_scene,
)
from tiny_model import use_store, write_trained


def python(code: str, *options: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, *([code] if options else ["-c", code])],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "code")},
    )


def test_every_name_is_there_and_documented() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    assert set(builtup.__all__) <= set(dir(builtup))
    for name in builtup.__all__:
        value = getattr(builtup, name)
        assert name == "__version__" or value.__doc__
        assert name == "__version__" or f"`{name}" in page, name
    assert set(api.__all__) <= set(builtup.__all__)


def test_no_name_is_that_of_a_room() -> None:
    """`import builtup.report.write` would put the room in its place."""
    rooms = {path.stem for path in (ROOT / "code" / "builtup").iterdir()}
    assert not rooms & set(builtup.__all__)


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'builtup' has no attribute 'pedict'"):
        builtup.pedict  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("builtup.pedict")


def test_a_name_costs_its_own_imports_only() -> None:
    done = python(
        "import sys, builtup\n"
        "light = {'torch', 'mlflow', 'rasterio', 'numpy', 'click'} & set(sys.modules)\n"
        "assert not light, light\n"
        "from builtup import predict, validate, BuiltupError, PolygonOptions\n"
        "heavy = {'torch', 'mlflow', 'rasterio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city with its polygons, and a trained network."""
    root = tmp_path_factory.mktemp("api")
    vv, vh = speckle((120, 150), 0.1, 1), speckle((120, 150), 0.02, 2)
    vv[40:80, 50:100] *= 8
    vh[:10] = np.nan
    write_scene(root / "data" / "train", "Alpha_2015", "38SLF", "20150101", vv=vv, vh=vh)
    left, top = TRANSFORM @ (50, 40)
    town = shapely.box(left, top - 400, left + 500, top)
    write_polygons(city_polygons(root / "data" / "train"), [town])
    write_trained(root / "trained")
    return root


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    use_store(root, monkeypatch)


def test_data_are_inspected_and_prepared(root: Path, tmp_path: Path) -> None:
    assert "Alpha" in builtup.inspect("data")
    summaries = builtup.prepare("data", tmp_path, tmp_path, num_workers=1)
    assert "train/rasterize" in [summary.step for summary in summaries]
    assert (tmp_path / "train_tiles" / "stats.json").is_file()


def test_scenes_become_maps_scores_and_a_page(root: Path) -> None:
    recipe = builtup.Recipe(model="trained", window=64, overlap=16, device="cpu", threshold="0.5")
    options = builtup.PredictOptions(input_path="data/train", output_path="maps", num_workers=1)
    maps = builtup.predict(recipe, options)
    (city,) = maps.cities
    assert city.city == "38SLF_Alpha"
    assert {path.suffix for path in (city.classes, city.polygons)} == {".tif", ".gpkg"}
    assert all(path.is_file() for path in (city.classes, city.probability, city.polygons))
    assert maps.summaries[0].step == "predict"
    again = builtup.polygonize(
        maps.folder, polygons=builtup.PolygonOptions(min_area=0), num_workers=1
    )
    assert (again.folder, again.cities) == (maps.folder, maps.cities)
    assert again.summaries[0].done == 1
    scores = builtup.validate(maps.folder, gt_path="data/train")
    assert scores.path.is_file()
    assert "38SLF_Alpha" in scores.table
    assert scores.figures["38SLF_Alpha"]["iou"] == scores.figures["pooled"]["iou"]
    masks = root / "data" / "masks" / "38SLF_Alpha" / "a_mask.tif"
    masks.parent.mkdir(parents=True)
    with rasterio.open(city.classes) as dataset:
        label, profile = dataset.read(1), dataset.profile
    truth = np.where(np.arange(len(label))[:, None] < 60, label, 255).astype(np.uint8)
    write_raster(masks, truth, profile["transform"], profile["crs"], nodata=255)
    with rasterio.open(masks, "r+") as dataset:
        dataset.update_tags(BUILTUP_SCENE="a_{}", BUILTUP_CITY="38SLF_Alpha")
    layer = builtup.validate(maps.folder, gt_path="data", gt_layer="masks", block="64", erode=1)
    assert layer.path.name == "scene_scores.json" and "blocks of 64 pixels" in layer.table
    assert layer.figures["a"]["pixels"] == (truth != 255).sum()
    assert layer.figures["pooled"]["mapped_iou"] == layer.figures["a"]["f1"] == 1
    assert layer.figures["eroded/class/building"]["iou"] == 1
    page = builtup.write_report(maps.folder, gt_path="data/train")
    assert page == maps.folder / "report.html" and page.is_file()


def test_a_config_is_run_with_the_script_of_its_kind(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.runs.recorder import recording

    ran: list[Any] = []

    def run_script(script: Path, config: Path, overrides: str) -> None:
        ran.append((str(script), str(config), overrides))
        with recording("Trainings", "ours"):
            pass

    launch = types.ModuleType("builtup.config.launch")
    monkeypatch.setattr(launch, "run_script", run_script, raising=False)
    monkeypatch.setitem(sys.modules, "builtup.config.launch", launch)
    first = builtup.train("a.py", "seed=1")
    second = builtup.infer("b.py")
    assert ran == [
        ("code/scripts/training.py", "a.py", "seed=1"),
        ("code/scripts/inference.py", "b.py", ""),
    ]
    assert first.run_id != second.run_id
    assert first.folder.is_dir() and first.run_id in first.folder.parts


SCRIPT = """
import builtup
{guard}print(builtup.prepare("absent"))
"""


def test_a_script_without_its_guard_is_told_of_it_before_anything_is_done(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(SCRIPT.format(guard=""))
    said = python(str(program), "-u").stderr.splitlines()[-1]
    assert f"{program}, line 3: its worker processes would run this file again" in said
    assert 'if __name__ == "__main__":' in said and "memory" not in said
    program.write_text(SCRIPT.format(guard='if __name__ == "__main__": '))
    assert "absent: no such folder" in python(str(program), "-u").stderr.splitlines()[-1]


def test_what_is_no_file_needs_no_guard() -> None:
    """A notebook, `python -c`: a worker has nothing to run again."""
    done = python('import builtup\nbuiltup.prepare("absent")')
    assert re.search(r"absent: no such folder", done.stderr.splitlines()[-1])
