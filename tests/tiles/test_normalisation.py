from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from builtup.errors import BuiltupError, InputError
from builtup.jobs.steps import Summary
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.radar.bands import CHANNEL_SETS
from builtup.tiles.normalisation import channel_statistics, read_sensor
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import read_tile_stats
from tile_data import add_scene, moved, tile_all


def measure(folder: Path, **options: Any) -> Summary:
    defaults = {"output_path": folder, "gap": 6, "num_workers": 1}
    return generate_tiles_stats(input_path=folder, **{**defaults, **options})


def direct(image: NDArray[np.float32], channel_set: str) -> NDArray[np.float64]:
    """(channels, pixels) of the valid pixels."""
    valid = np.isfinite(image[0]) & np.isfinite(image[1])
    return CHANNEL_SETS[channel_set].compute(image[0][valid], image[1][valid]).astype(np.float64)


@pytest.mark.parametrize("channel_set", CHANNEL_SETS)
@pytest.mark.parametrize("materialize", [True, False])
def test_statistics_of_city_folds_are_those_of_the_other_cities(
    tmp_path: Path, channel_set: str, materialize: bool
) -> None:
    alpha = [add_scene(tmp_path, date=d)[0] for d in ("20150101", "20150201")]
    beta, _ = add_scene(tmp_path, city="Beta_2015", tile="38RNV", transform=moved(5000, 0))
    folder = tile_all(tmp_path, materialize=materialize)
    measure(folder)
    for fold, images in ((0, alpha), (1, [beta]), (None, [*alpha, beta])):
        values = np.concatenate([direct(image, channel_set) for image in images], axis=1)
        mean, std = channel_statistics(folder, channel_set, fold)
        np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-10)
        np.testing.assert_allclose(std, values.std(axis=1), rtol=1e-10)


@pytest.mark.parametrize("shift", [0, 4])
def test_statistics_of_blocks_leave_out_the_block_and_its_gap(tmp_path: Path, shift: int) -> None:
    first, _ = add_scene(tmp_path)
    second, _ = add_scene(tmp_path, date="20150201", transform=moved(shift, 0))
    folder = tile_all(tmp_path)
    measure(folder, blocks="rows=30;cols=50")
    held_first, held_second = first.copy(), second.copy()
    held_first[:, : 30 + 6, : 50 + 6] = np.nan  # r0c0 of the grid of the first date
    held_second[:, : 30 + 6, : 50 + 6 - shift] = np.nan
    values = np.concatenate([direct(held_first, "db_3b"), direct(held_second, "db_3b")], axis=1)
    mean, std = channel_statistics(folder, "db_3b", 0)
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-10)
    np.testing.assert_allclose(std, values.std(axis=1), rtol=1e-10)
    assert json.loads((folder / "stats.json").read_text())["pixels"]["0"] == values.shape[1]


def test_a_fold_that_leaves_nothing_to_train_on_says_so_when_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    measure(folder, gap=200)
    assert "38SLF_Alpha/r0c0: holding this fold out leaves no valid pixel" in caplog.text
    assert len(channel_statistics(folder, "db_3b", None)[0]) == 3
    with pytest.raises(BuiltupError, match="r0c0: holding this fold out leaves no valid pixel"):
        channel_statistics(folder, "db_3b", 0)


def test_unknown_sets_folds_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run generate_tiles_stats first"):
        channel_statistics(tmp_path, "db_3b", None)
    add_scene(tmp_path)
    folder = tile_all(tmp_path)
    measure(folder)
    with pytest.raises(InputError, match="channel sets: linear_3b"):
        channel_statistics(folder, "db_9b", None)
    with pytest.raises(InputError, match="'9'"):
        channel_statistics(folder, "db_3b", 9)
    with pytest.raises(InputError, match="run generate_tiles_stats first"):
        read_tile_stats(tmp_path / "none.csv")


def test_data_that_do_not_say_are_of_the_default_sensor(tmp_path: Path) -> None:
    assert read_sensor(tmp_path) is DEFAULT
    (tmp_path / "stats.json").write_text('{"folds": {}}')
    assert read_sensor(tmp_path) is DEFAULT


def test_an_unknown_sensor_or_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "stats.json").write_text('{"sensor": "sonar"}')
    with pytest.raises(InputError, match=r"stats\.json: sensor 'sonar' is unknown"):
        read_sensor(tmp_path)
    for text in ("{", "[]"):
        (tmp_path / "stats.json").write_text(text)
        with pytest.raises(InputError, match=r"stats\.json: malformed"):
            channel_statistics(tmp_path, "db_3b", None)
