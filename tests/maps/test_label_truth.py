"""Truth on a scene's grid: a mask as it is, polygons as the mapped class, or a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from aerial_data import NAMES, add_site
from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.maps.label_truth import Truths, open_truth
from builtup.sensors.classes import BUILT_UP, Classes
from helpers import CRS, TRANSFORM, write_polygons

WHOLE = Window(0, 0, 6, 8)


def polygons(root: Path) -> tuple[Path, Grid]:
    x, y = TRANSFORM @ (0, 0)
    path = root / "Alpha_2015" / "38SLF_Alpha.shp"
    write_polygons(path, [box(x + 10, y - 40, x + 30, y - 10)], CRS)
    import rasterio

    return path, Grid(rasterio.crs.CRS.from_string(CRS), TRANSFORM, 8, 6)


def test_a_scene_has_its_mask_else_the_polygons_of_its_city(tmp_path: Path) -> None:
    path, _ = polygons(tmp_path)
    add_site(tmp_path / "layers", "beta", height=False)
    assert Truths(str(tmp_path)).of("s1a_38SLF_{}", "38SLF_Alpha") == path
    masks = Truths(str(tmp_path / "layers" / "masks"))
    found = masks.of("beta_scene_{}", "beta")
    assert found is not None and found.name == "beta_scene_mask.tif"
    assert masks.of("gamma_scene_{}", "gamma") is None
    assert Truths("").of("beta_scene_{}", "beta") is None


def test_polygons_are_the_mapped_class_whatever_its_number(tmp_path: Path) -> None:
    path, grid = polygons(tmp_path)
    with open_truth(path, grid, BUILT_UP) as read:
        mask = read(WHOLE)
    assert mask[2, 2] == 1 and mask[5, 7] == 0
    with open_truth(path, grid, Classes.of(("building", "ground"))) as read:
        assert np.array_equal(read(WHOLE), 1 - mask)


def test_polygons_do_not_tell_three_classes(tmp_path: Path) -> None:
    path, grid = polygons(tmp_path)
    with (
        pytest.raises(InputError, match="polygons do not tell 3 classes"),
        open_truth(path, grid, Classes.of(NAMES)),
    ):
        pass
