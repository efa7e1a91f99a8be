"""Weakening: cells, tags, roles, and that no pixel label of N2 is left."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import rasterio

from builtup.errors import ConfigError, InputError
from builtup.geo.probability import IGNORE
from builtup.tiles.folds import Folds
from builtup.tiles.table import read_tile_stats
from builtup.tiles.tile import read_list, read_tile
from builtup.tiles.weaken import weaken
from helpers import write_raster
from tile_data import TRANSFORM, add_scene, moved, tile_all

SHAPE = (70, 90)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for i in range(5):
        mask = np.zeros(SHAPE, np.uint8)
        mask[:, :5] = IGNORE
        mask[30:40, 30:50] = 1
        mask[61, 81] = 1  # one pixel of the strip below and at the right
        add_scene(
            root, f"City{i}_2015", f"38SL{'ABCDE'[i]}", transform=moved(1000 * i, 0), mask=mask
        )
    tile_all(root)
    return root


def run(root, out, **options):
    given = {"cell": 40, "context": 6, "shares": "20;40;40", "num_workers": 1}
    return weaken(input_path=root / "tiles", output_path=out, **given | options)


def tags(out):
    with (out / "tags.csv").open() as file:
        return list(csv.DictReader(file))


def pixels(out):
    """Valid pixels of all scenes, by the statistics."""
    return json.loads((out / "stats.json").read_text())["pixels"]


def roles(out):
    with (out / "split.csv").open() as file:
        return {row["scene"]: row["role"] for row in csv.DictReader(file)}


def test_the_cells_of_n2_are_tiles_with_context_and_without_labels(root, tmp_path):
    run(root, tmp_path)
    own = tags(tmp_path)
    assert sorted(roles(tmp_path).values()) == ["labelled", *["tags"] * 2, *["validation"] * 2]
    weak = [name for name, role in roles(tmp_path).items() if role == "tags"]
    assert len(own) == 2 * 6
    first = [row for row in own if row["scene"] == weak[0]]
    places = [(int(r["x"]), int(r["y"]), int(r["width"]), int(r["height"])) for r in first]
    assert places == [
        (0, 0, 40, 40), (40, 0, 40, 40), (80, 0, 10, 40),
        (0, 40, 40, 30), (40, 40, 40, 30), (80, 40, 10, 30),
    ]  # fmt: skip
    assert [row["building"] for row in first] == ["1", "1", "0", "0", "0", "1"]
    assert [row["background"] for row in first] == ["1"] * 6
    stats = {t.tile.tile_id: t for t in read_tile_stats(tmp_path / "tile_stats.csv")}
    shown = stats[first[1]["tile_id"]]
    w = shown.tile.window
    assert (w.x, w.y, w.width, w.height) == (34, 0, 52, 52)  # 6 pixels more below
    assert shown.skip and (read_tile(shown.mask, 1) == IGNORE).all()
    with rasterio.open(
        next((root / "images_3b").glob(f"*/{weak[0].replace('s1a_', 's1a_').split('_ASC')[0]}_3b*"))
    ) as scene:
        values = scene.read()[:, :52, 34:86]
    np.testing.assert_array_equal(read_tile(shown.tile), values)


def test_blocks_of_cells_are_tiles_that_show_them_together(root, tmp_path):
    """The tags are those of single cells, and a block's file holds the scene's own pixels."""
    run(root, tmp_path, block=2)
    run(root, tmp_path / "one")
    own, one = tags(tmp_path), tags(tmp_path / "one")
    assert [dict(row, tile_id="") for row in own] == [dict(row, tile_id="") for row in one]
    scene = own[0]["scene"]
    places = [row["tile_id"].removeprefix(scene) for row in own if row["scene"] == scene]
    assert places == ["_0_0", "_0_0", "_80_0", "_0_0", "_0_0", "_80_0"]
    stats = {t.tile.tile_id: t for t in read_tile_stats(tmp_path / "tile_stats.csv")}
    windows = [stats[f"{scene}{place}"].tile.window for place in ("_0_0", "_80_0")]
    assert [(w.x, w.y, w.width, w.height) for w in windows] == [(0, 0, 90, 70)] * 2
    (file,) = (root / "images_3b").glob(f"*/{scene.split('_ASC')[0]}_3b*")
    with rasterio.open(file) as source:
        np.testing.assert_array_equal(read_tile(stats[f"{scene}_80_0"].tile), source.read())
    assert pixels(tmp_path) == pixels(tmp_path / "one")  # what both tiles show counts once


def test_other_cells_that_show_as_much_are_cut_anew(root, tmp_path):
    """Where the context reaches the whole scene, what is shown does not tell them apart."""
    for how in ({"cell": 60}, {"cell": 25, "block": 2}):
        run(root, tmp_path, context=100, **how)
        for tile in read_list(tmp_path / "images" / "tiles.csv"):
            assert tile.path.is_file()


@pytest.mark.parametrize("block", [0, 16])
def test_blocks_that_are_none_or_too_large_are_refused(root, tmp_path, block):
    with pytest.raises(ConfigError, match=f"block={block}: expected 1 to 15 cells"):
        run(root, tmp_path, block=block)


def test_pixel_labels_are_those_of_n1_and_validation_alone(root, tmp_path):
    run(root, tmp_path)
    of = roles(tmp_path)
    folds = Folds.read(tmp_path)
    rows = read_tile_stats(tmp_path / "tile_stats.csv")
    held = folds.index_of("validation")
    learnt = {t.tile.scene.replace("_{}", "") for t in folds.training_tiles(rows, held)}
    assert learnt == {name for name, role in of.items() if role == "labelled"}
    scored = {t.tile.scene.replace("_{}", "") for t in folds.validation_tiles(rows, held)}
    assert scored == {name for name, role in of.items() if role == "validation"}


def test_another_split_of_the_folder_leaves_nothing_of_the_one_before(root, tmp_path):
    """Hidden masks and cut cells of an earlier seed stayed, named by no list."""
    for seed in range(4):
        run(root, tmp_path / "again", seed=seed)
        run(root, tmp_path / str(seed), seed=seed)
        for pattern in ("masks/**/*.tif", "images/*_tiles/*", "masks/**/*.json"):
            again, once = (
                sorted(str(p.relative_to(out)) for p in out.glob(pattern))
                for out in (tmp_path / "again", tmp_path / str(seed))
            )
            assert again == once and once, pattern
    assert len({tuple(roles(tmp_path / str(seed)).items()) for seed in range(4)}) > 1


def test_tags_change_with_neither_tiles_nor_seed(root, tmp_path):
    seen = {}
    for seed in range(6):
        out = tmp_path / str(seed)
        run(root, out, seed=seed, context=seed)
        for row in tags(out):
            key = row["scene"], row["x"], row["y"]
            assert seen.setdefault(key, row["building"]) == row["building"]
    assert len({key[0] for key in seen}) > 2


def test_not_materialised_tiles_give_the_same_tags_and_no_copies(root, tmp_path):
    for city in (root / "images_3b", root / "masks"):
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / city.name).symlink_to(city)
    tile_all(tmp_path / "own", materialize=False)
    run(root, tmp_path / "a")
    run(tmp_path / "own", tmp_path / "b")
    assert tags(tmp_path / "a") == tags(tmp_path / "b")
    assert not list((tmp_path / "b" / "images").glob("*_tiles"))
    one, other = (read_list(tmp_path / name / "images/tiles.csv") for name in "ab")
    weak = {row["tile_id"] for row in tags(tmp_path / "a")}
    pairs = {t.tile_id: t for t in other}
    for tile in (t for t in one if t.tile_id in weak):
        np.testing.assert_array_equal(read_tile(tile), read_tile(pairs[tile.tile_id]))


@pytest.mark.parametrize("materialize", [True, False])
def test_small_cells_with_much_around_them_have_a_tile_each(root, tmp_path, materialize):
    """Cells of 10 pixels whose surroundings of 16 begin at the scene's edge had one tile id."""
    (tmp_path / "own").mkdir()
    for folder in (root / "images_3b", root / "masks"):
        (tmp_path / "own" / folder.name).symlink_to(folder)
    tile_all(tmp_path / "own", materialize=materialize)
    run(tmp_path / "own", tmp_path / "out", cell=10, context=16)
    own = tags(tmp_path / "out")
    assert len(own) == 2 * 7 * 9 == len({row["tile_id"] for row in own})
    tiles = {tile.tile_id: tile for tile in read_list(tmp_path / "out/images/tiles.csv")}
    for row in own:
        w, x, y = tiles[row["tile_id"]].window, int(row["x"]), int(row["y"])
        assert (w.width, w.height) == (42, 42)  # near an edge more of what lies inside
        assert (w.x, w.y) == (min(max(0, x - 16), 48), min(max(0, y - 16), 28))
        assert read_tile(tiles[row["tile_id"]]).shape[1:] == (w.height, w.width)


def test_shares_and_a_least_share(root, tmp_path):
    run(root, tmp_path / "shares", tags="shares")
    row = tags(tmp_path / "shares")[0]
    assert float(row["building"]) == pytest.approx(10 * 10 / (40 * 35), rel=1e-5)
    run(root, tmp_path / "least", least_share=0.1)
    assert tags(tmp_path / "least")[0]["building"] == "0"


def test_again_nothing_is_done(root, tmp_path):
    assert run(root, tmp_path).done == 5
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.csv")}
    assert run(root, tmp_path).done == 0
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*.csv")}
    assert run(root, tmp_path, context=4).done == 2  # the scenes of N2: none is counted again


def written(tmp_path, text):
    (tmp_path / "by_hand.csv").write_text(text)
    return str(tmp_path / "by_hand.csv")


def of_n2(root, tmp_path):
    run(root, tmp_path / "look")
    return next(name for name, role in roles(tmp_path / "look").items() if role == "tags")


def test_tags_by_hand_that_contradict_pixels_are_counted_and_named(root, tmp_path, caplog):
    name = of_n2(root, tmp_path)
    path = written(tmp_path, f"scene,x,y,building\n{name},0,0,0\n{name},40,0,1\n{name},80,0,1\n")
    run(root, tmp_path / "out", tags=path)
    own = [row for row in tags(tmp_path / "out") if row["scene"] == name]
    assert [row["building"] for row in own] == ["0", "1", "1", "", "", ""]
    assert f"in 1 cells: building absent by its tag only ({name} 0,0)" in caplog.text
    assert f"in 1 cells: building present by its tag only ({name} 80,0)" in caplog.text


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("scene,x,y,church\n{},0,0,1\n", "tags of church, which is no class"),
        ("scene,x,y,building\n{},41,0,1\n", "the cell at 41, 0 of .* is off the grid of 40 pixels"),
        ("scene,x,y,building\n{},120,0,1\n", "is off the grid"),
        ("scene,x,y,building\nmoon,0,0,1\n", "the scene moon is not among the tiles"),
        ("scene,x,y,width,height,building\n{},0,0,32,32,1\n", "is 32 x 32 pixels, and cells of 40"),
        ("scene,x,y,building\n{},0,0,2\n", "line 2: expected x and y"),
        ("scene,x,y,building\n{0},0,0,1\n{0},0,0,0\n", "line 3: that cell stands twice"),
        ("scene,x\n", "no list of tags"),
    ],
)
def test_tags_that_are_refused(root, tmp_path, row, problem):
    path = written(tmp_path, row.format("s1a_38SLA_ASC_20150101"))
    with pytest.raises(InputError, match=problem):
        run(root, tmp_path / "out", tags=path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("row", ["", "s1a_38SLA_ASC_20150101,0,0,\n"])
def test_a_list_without_a_tag_of_n2_is_refused(root, tmp_path, row):
    path = written(tmp_path, f"scene,x,y,building\n{row}")
    with pytest.raises(InputError, match=r"by_hand.csv: no tag of a cell of N2 \(s1a"):
        run(root, tmp_path / "out", tags=path)
    assert not list((tmp_path / "out").rglob("*.tif"))


def test_a_coarse_raster_gives_shares(root, tmp_path):
    layer = np.zeros((1, 20, 500), np.float32)
    layer[0, :, ::2] = 100
    write_raster(tmp_path / "ghsl.tif", layer, TRANSFORM @ TRANSFORM.scale(10), nodata=-1)
    run(root, tmp_path / "out", tags=str(tmp_path / "ghsl.tif"), full=100)
    row = tags(tmp_path / "out")[0]
    assert float(row["building"]) == pytest.approx(0.5, abs=0.01)
    assert float(row["background"]) == pytest.approx(0.5, abs=0.01)
    with pytest.raises(InputError, match="values from 0 to 100, where shares are from 0 to 1"):
        run(root, tmp_path / "legend", tags=str(tmp_path / "ghsl.tif"), cell=10)
    write_raster(tmp_path / "far.tif", layer, moved(10**5, 0), nodata=-1)
    with pytest.raises(InputError, match="no value on scene"):
        run(root, tmp_path / "far", tags=str(tmp_path / "far.tif"))


def test_a_coarse_raster_need_not_meet_scenes_that_it_does_not_tag(root, tmp_path):
    """It had to meet the ground of N1 and of validation, too."""
    name = of_n2(root, tmp_path)
    city = "ABCDE".index(name.split("_")[1][4])
    weak = [row for row, role in roles(tmp_path / "look").items() if role == "tags"]
    cities = sorted("ABCDE".index(row.split("_")[1][4]) for row in weak)
    layer = np.zeros((1, 10, 10), np.float32)
    paths = []
    for number in cities:
        place = moved(1000 * number, 0) @ TRANSFORM.scale(10)
        paths.append(write_raster(tmp_path / f"l{number}.tif", layer, place, nodata=-1))
    with pytest.raises(InputError, match="no value on scene"):  # one of N2 it must meet
        run(root, tmp_path / "out", tags=str(paths[cities.index(city)]))
    first, last = cities[0], cities[-1]
    wide = np.zeros((1, 10, 100 * (last - first) + 10), np.float32)
    place = moved(1000 * first, 0) @ TRANSFORM.scale(10)
    write_raster(tmp_path / "both.tif", wide, place, nodata=-1)
    run(root, tmp_path / "out", tags=str(tmp_path / "both.tif"))
    assert {row["building"] for row in tags(tmp_path / "out")} == {"0"}


def test_bad_settings(root, tmp_path):
    for options, problem in (
        ({"shares": "0;80;20"}, "N1 is empty"),
        ({"shares": "10;70"}, "expected percentages"),
        ({"cell": 0}, "expected a cell of 1 pixel or more"),
        ({"tags": "people"}, "expected presence, shares, a list"),
        ({"tags": "shares", "least_share": 0.1}, "least_share=0.1: has no meaning for tags=shares"),
        ({"full": 100.0}, "full=100: has no meaning for tags=presence"),
    ):
        with pytest.raises(ConfigError, match=problem):
            run(root, tmp_path / "out", **options)
    with pytest.raises(InputError, match="is input_path, whose pixel labels would be hidden"):
        run(root, root / "tiles")


def test_a_class_without_a_pixel_of_n1_is_refused(tmp_path):
    for i in range(3):
        mask = np.zeros(SHAPE, np.uint8)
        mask[20:30, 20:30] = i > 0
        add_scene(
            tmp_path, f"City{i}_2015", f"38SL{'ABC'[i]}", transform=moved(1000 * i, 0), mask=mask
        )
    tile_all(tmp_path)
    refused = 0
    for seed in range(6):
        try:
            run(tmp_path, tmp_path / str(seed), seed=seed, shares="33;34;33")
        except InputError as e:
            refused += 1
            assert "the class building has tags, and occurs in no pixel label of N1" in str(e)
            left = [p for p in (tmp_path / str(seed)).rglob("*") if p.is_file()]
            assert all(".cells" in p.parts for p in left)  # counts: no mask, no list, no tags
    assert 0 < refused < 6
