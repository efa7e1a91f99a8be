"""benchmarks/new_ground.py: its figures by hand, its grounds, its rivals."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import new_ground
import new_ground_data
import new_ground_rivals
from new_ground import Records, Table, figures, loss_of_rule, verdict
from new_ground_data import (
    Ground,
    MapCounts,
    Network,
    Pair,
    Part,
    Recipes,
    block_window,
    counted,
    recipe_of,
)

from builtup.prediction.recipe import Recipe
from builtup.runs.results import PredictionTags, write_tags


def counts(threshold: float = 0.5, **settings: float) -> MapCounts:
    """Ten pixels: levels 20 to 240; built-up are the upper three, and that of 60."""
    levels = np.array([20, 40, 60, 80, 100, 120, 140, 200, 220, 240], np.uint8)
    truth = np.array([0, 0, 1, 0, 0, 0, 0, 1, 1, 1], np.uint8)
    mapped = levels >= 254 * threshold
    return MapCounts("50TMK_A", counted(truth, levels, mapped), threshold, **settings)


def run(*maps: MapCounts, **values: object) -> dict:
    return {"seconds": 2.0, "maps": [found.to_json() for found in maps], **values}


def test_figures_of_ten_pixels() -> None:
    found = figures([run(counts(0.9), training_seconds=5.0)])
    # mapped from 228.6 on: one hit, three missed
    assert found["f1"] == pytest.approx(2 / 5)
    assert found["half"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))  # from 127 on: 140 is wrong
    assert found["best"] == pytest.approx(6 / 7) and 140 < 254 * found["at"] < 200
    # precision where recall rises: 1, 1, 1, and 4 of 8
    assert found["ap"] == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert (found["mapped"], found["true"]) == (0.1, 0.4)
    assert (found["training"], found["seconds"]) == (5.0, 2.0)


def test_parts_of_a_pair_are_pooled_as_pixels() -> None:
    once, twice = figures([run(counts())]), figures([run(counts()), run(counts())])
    assert twice["f1"] == pytest.approx(once["f1"]) and twice["seconds"] == 4.0


def test_an_oracle_has_no_threshold_of_its_own() -> None:
    assert np.isnan(figures([run(counts(), oracle=True)])["half"])


def test_loss_of_a_rule_is_that_of_its_threshold() -> None:
    maps = [counts(0.9), counts(0.7)]
    # best: six of seven twice; fixed: one hit of four, and at 177.8 three of three
    fixed = 2 * 4 / (2 * 4 + 0 + 4)
    assert loss_of_rule("fixed", maps) == pytest.approx(6 / 7 - fixed)
    assert loss_of_rule("half", maps) == pytest.approx(6 / 7 - 3 / 4)


def test_a_temperature_alone_changes_no_map() -> None:
    flat = counts(0.7, share=0.4, temperature=1.0)
    for name in new_ground.TEMPERED:
        own = new_ground.cells_by_rule(name, flat)
        tempered = new_ground.cells_by_rule(f"{name}, tempered", flat)
        assert own.tolist() == tempered.tolist()


def test_a_shift_counts_where_labels_are_ahead_by_three_times_the_spread() -> None:
    assert "counts as" in verdict([0.9, 0.91, 0.92], [0.8, 0.81, 0.82])
    assert "does not" in verdict([0.83, 0.84, 0.85], [0.8, 0.81, 0.82])
    assert "nothing of the spread" in verdict([0.9], [0.8])


def test_maps_are_kept_as_json() -> None:
    one = counts(0.3, share=0.2, temperature=1.5)
    other = MapCounts.from_json(one.to_json())
    assert other.to_json() == one.to_json() and other.counts.pixels == 10


def test_what_is_measured_is_not_measured_again(tmp_path: Path) -> None:
    asked = []
    for _ in range(2):
        Records(tmp_path / "runs.json")("a", lambda: asked.append(1) or {"seconds": 1.0})
    assert len(asked) == 1
    Records(tmp_path / "runs.json")("a", lambda: asked.append(1) or {}, again=True)
    assert len(asked) == 2


def test_two_processes_keep_what_the_other_measured(tmp_path: Path) -> None:
    one, other = Records(tmp_path / "runs.json"), Records(tmp_path / "runs.json")
    one("a", lambda: {"seconds": 1.0})
    other("b", lambda: {"seconds": 2.0})
    assert set(Records(tmp_path / "runs.json").values) == {"a", "b"}


def test_tables_name_every_pair_and_the_worst(tmp_path: Path) -> None:
    table = Table(Records(tmp_path / "runs.json"), tmp_path)
    ground = Ground("there", tmp_path, tmp_path)
    pairs = [Pair(name, ground, (Part("fold", ground),)) for name in ("near", "far")]
    for seed in (0, 1):
        table._add("net, none", "near", seed, run(counts(0.7)))
        table._add("net, none", "far", seed, run(counts(0.9)))
    text = table.text(pairs)
    assert ".857 ± .000" in text and ".400 ± .000" in text
    summary = next(line for line in text.splitlines() if line.startswith("| net, none | .6"))
    assert summary.split("|")[2:4] == [" .629 ", " .400 "]
    assert "prior shift, tempered" in text


def test_networks_are_configs_with_overrides() -> None:
    found = new_ground._networks(["a/one.py", "two.py"], ["gain_db=3.0"])
    assert [n.label for n in found] == ["one gain_db=3.0", "two"]
    found = new_ground._networks(["a/one.py"], ["", "gain_db=3.0"])
    assert [n.label for n in found] == ["one", "one gain_db=3.0"]


def test_a_way_is_a_setting_of_predict() -> None:
    assert recipe_of("run", "tta=d4") == Recipe("run", tta="d4")
    assert recipe_of("run", "none").model == "run"
    if "adapt" in {of.name for of in fields(Recipe)}:
        assert recipe_of("run", "scene:0.8,tta=d4").adapt == "scene:0.8"
    with pytest.raises(SystemExit, match="way size=3"):
        recipe_of("run", "size=3")


def test_four_blocks_are_the_scene() -> None:
    windows = [block_window(900, 512, r, c) for r in range(2) for c in range(2)]
    seen = np.zeros((900, 512), int)
    for window in windows:
        seen[window.slices] += 1
    assert (seen == 1).all() and windows[0].height == 560 and windows[0].width == 256


def test_a_block_lies_where_it_lay(tmp_path: Path) -> None:
    values = np.arange(900 * 512, dtype=np.float32).reshape(900, 512)
    profile = {"driver": "GTiff", "height": 900, "width": 512, "count": 1, "dtype": "float32"}
    place = {"crs": "EPSG:32610", "transform": Affine(10, 0, 500_000, 0, -10, 4_200_000)}
    with rasterio.open(tmp_path / "whole.tif", "w", **profile, **place, nodata=0) as dataset:
        dataset.write(values, 1)
    new_ground_data._cut(tmp_path / "whole.tif", tmp_path / "part.tif", 1, 1)
    with rasterio.open(tmp_path / "part.tif") as part:
        assert (part.read(1) == values[560:, 256:]).all() and part.nodata == 0
        assert part.transform @ (0, 0) == (500_000 + 2560, 4_200_000 - 5600)


def test_a_map_is_counted_where_it_and_the_truth_are_known(tmp_path: Path) -> None:
    place = {"crs": "EPSG:32610", "transform": Affine(10, 0, 500_000, 0, -10, 4_200_000)}
    profile = {"driver": "GTiff", "height": 1, "width": 4, "count": 1, "dtype": "uint8", **place}
    truth = tmp_path / "masks" / "A_2020" / "s1a_10SEG_mask_20200101.tif"
    rasters = {
        tmp_path / "raw" / "10SEG_A.tif": [1, 0, 1, 255],
        tmp_path / "raw" / "10SEG_A_prob.tif": [200, 20, 140, 255],
        truth: [1, 1, 255, 0],
    }
    tags = PredictionTags("", "10SEG_A", 4, 1, "run", 0.5, ("background", "building"))
    for path, values in rasters.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(np.array([values], np.uint8), 1)
            write_tags(dataset, tags)
    ((city, found),) = new_ground_data.count_maps(tmp_path, Ground("there", tmp_path, tmp_path))
    assert city == "10SEG_A" and found.matrix.tolist() == [[0, 0], [1, 1]]
    assert np.flatnonzero(found.histogram[1]).tolist() == [20, 200]


def test_a_mean_of_valid_pixels_alone() -> None:
    power = np.full((20, 20), 2.0, np.float32)
    power[:, 10:] = np.nan
    mean = new_ground_rivals.local_mean(power)
    assert np.allclose(mean[:, :10], 2) and np.isnan(mean[:, 10:]).all()
    levels = new_ground_rivals.mean_levels(np.full((9, 9), 10**-1.0, np.float32))  # −10 dB
    assert (levels == 127).all()


def test_the_lee_filter_keeps_an_even_field_and_an_edge() -> None:
    field = np.full((40, 40), 0.1, np.float32)
    assert np.allclose(new_ground_rivals.lee(field), 0.1)
    field[:, 20:] = 10.0
    filtered = new_ground_rivals.lee(field)
    assert np.allclose(filtered[:, :16], 0.1) and filtered[20, 21] > 8


def stored_arrays() -> dict[str, np.ndarray]:
    """Arrays of the shapes of the published network, in its order of layers."""
    widths = [(3, 7, 16)]
    norms = [16]
    wide = 16
    for stage in range(3):
        narrow = 16 if stage == 0 else wide
        out = 64 if stage == 0 else 2 * narrow
        for block in range(2):
            widths += [(1, wide, narrow), (3, narrow, narrow), (1, narrow, out)]
            norms += ([] if stage == block == 0 else [wide]) + [narrow, narrow]
            if block == 0:
                widths.append((1, wide, out))
            wide = out
    norms.append(wide)
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (side, i_in, i_out) in enumerate(widths, 1):
        arrays[f"conv2d_{i}/kernel"] = rng.normal(0, 0.1, (side, side, i_in, i_out))
        arrays[f"conv2d_{i}/bias"] = np.zeros(i_out)
    for i, width in enumerate(norms, 1):
        for name in ("moving_mean", "beta"):
            arrays[f"batch_normalization_{i}/{name}"] = np.zeros(width)
        for name in ("moving_variance", "gamma"):
            arrays[f"batch_normalization_{i}/{name}"] = np.ones(width)
    arrays["dense_1/kernel"], arrays["dense_1/bias"] = rng.normal(0, 1, (wide, 17)), np.zeros(17)
    assert (len(widths), len(norms), wide) == (22, 19, 256)
    return arrays


def test_the_published_network_gives_a_value_a_patch_and_more_on_more() -> None:
    network = new_ground_rivals.ResNet20(stored_arrays()).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 7, 32, 32)).shape == (2, 17, 1, 1)
        assert network(torch.zeros(1, 7, 40, 36)).shape == (1, 17, 3, 2)


def test_the_published_network_says_nothing_of_what_is_invalid() -> None:
    network = new_ground_rivals.ResNet20(stored_arrays()).eval()
    power = np.random.default_rng(0).gamma(4, 0.02, (2, 45, 38)).astype(np.float32)
    power[:, :5] = np.nan
    found = new_ground_rivals.so2sat_probability(network, power)
    assert np.isnan(found[:5]).all() and ((found[5:] >= 0) & (found[5:] <= 1)).all()


def test_a_forest_learns_from_what_the_fold_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def count(rival: object, pair: Pair, part: Part, seed: int) -> dict:
        made.append((part.fold, seed))
        return run(counts())

    ground = Ground("there", tmp_path, tmp_path)
    pair = Pair("p", ground, (Part("a", ground), Part("b", Ground("else", tmp_path, tmp_path))))
    monkeypatch.setattr(new_ground_rivals.Forest, "count", count)
    monkeypatch.setattr(new_ground_rivals.LocalMean, "count", count)
    table = Table(Records(tmp_path / "runs.json"), tmp_path)
    for seed in (3, 4):
        table.add_rival(new_ground_rivals.Forest(), pair, seed)
        table.add_rival(new_ground_rivals.LocalMean(), pair, seed)
    # by seed and part; what knows no chance once
    assert made == [("a", 3), ("b", 3), ("a", 0), ("b", 0), ("a", 4), ("b", 4)]


def test_a_network_is_trained_once_for_all_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, mapped = [], []
    network = Network("run", "key", 0.5, 0.1, None, 60.0)
    monkeypatch.setattr(Recipes, "key", lambda self, source, fold, seed: f"{fold} {seed}")

    def train(self: Recipes, source: Ground, fold: str, seed: int, out: Path) -> Network:
        trained.append(fold)
        return network

    def map_and_count(of: Network, way: str, target: Ground, folder: Path) -> dict:
        mapped.append((way, folder.name))
        return run(counts())

    monkeypatch.setattr(Recipes, "train", train)
    monkeypatch.setattr(new_ground, "map_and_count", map_and_count)
    ground = Ground("there", tmp_path, tmp_path)
    pair = Pair("p", ground, (Part("a", ground),))
    for _ in range(2):
        table = Table(Records(tmp_path / "runs.json"), tmp_path)
        table.add_network(Recipes("x.py"), pair, 0, ["none", "auto"], [])
    assert [way for way, _ in mapped] == ["none", "auto"] and len({f for _, f in mapped}) == 2
    assert set(table.runs) == {"x, none", "x, auto"}
    table.add_network(Recipes("x.py"), pair, 0, ["none", "auto"], ["auto"])
    assert [way for way, _ in mapped] == ["none", "auto", "auto"]


def test_what_another_process_made_anew_is_not_put_back(tmp_path: Path) -> None:
    first, second = Records(tmp_path / "runs.json"), Records(tmp_path / "runs.json")
    first("a", lambda: {"f1": 0.1})
    late = Records(tmp_path / "runs.json")
    second("a", lambda: {"f1": 0.2}, again=True)
    late("b", lambda: {"f1": 0.3})
    assert Records(tmp_path / "runs.json").values == {"a": {"f1": 0.2}, "b": {"f1": 0.3}}
