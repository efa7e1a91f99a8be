"""Which classes cells allow where, and lists of tags that do not fit a scene."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.maps.label_tags import SceneTags, classes_of_maps, tags_of_scenes
from builtup.runs.results import PredictionTags, Results
from builtup.sensors.classes import Classes
from builtup.tiles.tags import CellTags, cells_of, write_tags

NAN = float("nan")
CLASSES = Classes.of(("ground", "building", "tree"))
GRIDS = {"a": Grid(None, Affine.identity(), 5, 4), "b": Grid(None, Affine.identity(), 5, 4)}


def cell(x: int, y: int, width: int, height: int, *tags: float, scene: str = "a") -> CellTags:
    return CellTags(scene, Window(y, x, height, width), tags, f"{scene}_{x}_{y}")


def test_each_pixel_may_be_what_the_tags_of_its_cell_say() -> None:
    cells = (
        cell(0, 0, 3, 2, 1, 0, 0.4), cell(3, 0, 2, 2, NAN, 0, 1), cell(0, 2, 3, 2, 0, 0, 1),
    )  # fmt: skip
    found = SceneTags(cells).allowed(Window(1, 1, 3, 4))
    ground, building, tree = found
    assert ground.tolist() == [[True] * 4, [False] * 4, [False] * 4]
    assert not building.any()
    assert tree.tolist() == [[True] * 4, [True, True, False, False], [True, True, False, False]]


def test_a_window_without_a_cell_may_be_nothing() -> None:
    assert not SceneTags((cell(0, 0, 2, 2, 1, 1, 1),)).allowed(Window(2, 0, 2, 5)).any()


def read(tmp_path: Path, *cells: CellTags) -> dict[str, SceneTags]:
    write_tags(tmp_path / "tags.csv", cells, CLASSES.names)
    return dict(tags_of_scenes(tmp_path / "tags.csv", CLASSES, GRIDS))


def test_scenes_and_cells_without_tags_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = read(tmp_path, cell(0, 0, 3, 2, 1, 0, 1), cell(3, 0, 2, 2, NAN, NAN, NAN))
    assert list(found) == ["a"] and len(found["a"].cells) == 1
    assert "1 of 2 scenes have no tags" in caplog.text
    assert found["a"].settings() == [[0, 0, 3, 2, 1.0, 0.0, 1.0]]


def test_all_cells_of_a_grid_are_beside_one_another(tmp_path: Path) -> None:
    cells = [CellTags("a", w, (1.0, 1.0, 0.0), f"a_{w.x}_{w.y}") for w in cells_of(5, 4, 2)]
    found = read(tmp_path, *cells)["a"]
    assert np.array_equal(found.allowed(Window(0, 0, 4, 5)).all((1, 2)), [True, True, False])


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ([cell(0, 0, 2, 2, 1, 1, 1, scene="moon")], "the scene moon is not among the tiles"),
        ([cell(4, 0, 2, 2, 1, 1, 1)], r"the cell at 4, 0 of a reaches beyond its 5 x 4 pixels"),
        ([cell(0, 2, 2, 3, 1, 1, 1)], r"the cell at 0, 2 of a reaches beyond"),
        ([cell(0, 0, 2, 2, 0, 0, 0)], r"the cell at 0, 0 of a has none of the classes ground"),
        (
            [cell(0, 0, 3, 2, 1, 1, 1), cell(3, 0, 2, 2, 1, 1, 1), cell(2, 1, 2, 3, 1, 1, 1)],
            r"the cells at 0, 0 and 2, 1 of a overlap",
        ),
        ([cell(0, 0, 2, 2, NAN, NAN, NAN)], "no cell with tags"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    tmp_path: Path, cells: list[CellTags], problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as e:
        read(tmp_path, *cells)
    assert "\n" not in str(e.value)


def test_a_list_by_hand_has_no_sizes(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("scene,x,y,building\na,0,0,1\n")
    with pytest.raises(InputError, match="its cells have no size; give tags_path"):
        tags_of_scenes(tmp_path / "tags.csv", CLASSES, GRIDS)


def test_maps_must_have_the_same_classes(tmp_path: Path) -> None:
    results = Results(tmp_path)
    three, two = (
        PredictionTags("a_{}", "a", 5, 4, "run", 0.5, names)
        for names in (CLASSES.names, CLASSES.names[:2])
    )
    assert classes_of_maps(results, [three, three]).names == CLASSES.names
    with pytest.raises(InputError, match="maps of ground, building, tree, and of ground, building"):
        classes_of_maps(results, [three, two])
    with pytest.raises(InputError, match="no probability raster of any scene of the tiles"):
        classes_of_maps(results, [])
