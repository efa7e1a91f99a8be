"""One fold's score: written and read back, and what it means for three classes."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aerial_data import add_site, measured
from builtup.config import load as configs
from builtup.config.load import Config
from builtup.errors import InputError
from builtup.runs.manifest import write_config as log_config
from builtup.scoring.blocks import BlockTable
from builtup.studies.fold import FoldScore, read_score, score_fold, write_score
from tiny_folds import CONFIG, write_cities, write_config

#: 1 where the first band is bright, else 0 with a little of 2.
WEIGHTS = ((-40.0, 0.0), (40.0, 0.0), (-40.0, -3.0))


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fold")
    write_config(root, write_cities(root, ("Alpha", "Beta")))
    return root


def trained(root: Path, classes: int) -> tuple[Path, Config]:
    """What a training leaves, and its config: a threshold on VH for two classes or three."""
    path = root / f"of_{classes}.py"
    names = ("ground", "building", "water")[:classes]
    path.write_text(
        (root / "tiny.py").read_text()
        + f"\nnum_classes, class_names = {classes}, {names}\n\n\ndef model():\n"
        + '    channels = Channels("linear_3b", (0.06, 0.0, 0.0), (0.02, 1.0, 1.0))\n'
        + f"    return Segmenter(channels, Net(nn.Conv2d(3, {classes}, 1)))\n"
    )
    config = configs.load(path)
    folder = root / f"trained_{classes}"
    log_config(config, folder / "config")
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    model = config.build("model")
    layer: nn.Conv2d = model.network[0]
    with torch.no_grad():
        layer.weight.zero_()
        for number, (weight, bias) in enumerate(WEIGHTS[:classes]):
            layer.weight[number, 0] = weight / 40
            layer.bias[number] = bias  # type: ignore[index]
    torch.save(model.state_dict(), folder / "weights" / "last.pt")
    return folder, config


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fold_is_scored_by_its_mapped_class(cities: Path, classes: int) -> None:
    score = score_fold(*trained(cities, classes), "38SBB_Beta")
    assert score.tuned_on == ("38SAA_Alpha",)
    assert (score.temperature is None) == (classes > 2)
    chosen, half = BlockTable.of(score.rows).counts.sum(axis=(0, 1))
    assert chosen.sum() == half.sum() == score.held_out.sum()
    assert (score.held_out[1].sum(), score.held_out[0].sum()) == (
        *(chosen[0] + chosen[2], chosen[1] + chosen[3]),
    )
    tp, fp, fn, _ = half
    assert 2 * tp / (2 * tp + fp + fn) > 0.8
    if classes == 3:  # by argmax, which here is the class of half the probability, but for ties
        assert np.abs(chosen - half).max() <= 2


def test_a_score_is_read_as_it_was_written_and_only_under_its_key(
    cities: Path, tmp_path: Path
) -> None:
    score = replace(score_fold(*trained(cities, 2), "38SBB_Beta"), notes=("a note",))
    write_score(score, tmp_path, "key")
    found = read_score(tmp_path, "key")
    assert found is not None
    for field in fields(FoldScore):
        one, other = getattr(score, field.name), getattr(found, field.name)
        if field.name == "rows":
            assert [(row.place, row.scene) for row in one] == [(r.place, r.scene) for r in other]
        else:
            assert np.array_equal(one, other), field.name
    assert read_score(tmp_path, "another key") is None
    assert read_score(tmp_path / "nowhere", "key") is None


def test_a_fold_of_no_tile_is_refused(cities: Path) -> None:
    folder, config = trained(cities, 2)
    with pytest.raises(InputError, match="fold Omega"):
        score_fold(folder, config, "Omega")


#: Ground lies low, houses stand 6 m high, trees 8 m and are green.
HEIGHTS = """
num_classes = 3


def model():
    channels = Channels("rgb_height", (0.0,) * 5, (1.0,) * 5)
    return Segmenter(channels, Net(nn.Conv2d(5, 3, 1)))
"""


def test_a_fold_of_images_is_scored_with_their_heights_in_blocks_of_metres(tmp_path: Path) -> None:
    for number, site in enumerate(("alpha", "beta")):
        add_site(tmp_path, site, seed=10 * number)
    measured(tmp_path)
    path = tmp_path / "config.py"
    path.write_text(CONFIG.replace("{data}", str(tmp_path / "tiles")) + HEIGHTS)
    config, folder = configs.load(path), tmp_path / "trained"
    log_config(config, folder / "config")
    (folder / "weights").mkdir()
    model = config.build("model")
    layer: nn.Conv2d = model.network[0]
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias[:] = torch.tensor([3.0, 0.0, 0.0])
        layer.weight[1:, 3] = 1.0
        layer.weight[2, :2, 0, 0] = torch.tensor([-0.1, 0.1])
    torch.save(model.state_dict(), folder / "weights" / "last.pt")

    score = score_fold(folder, config, "beta")

    chosen = BlockTable.of(score.rows).counts.sum(axis=(0, 1))[0]
    tp, fp, fn, _ = chosen
    assert tp > 500 and 2 * tp / (2 * tp + fp + fn) > 0.9
    (place,) = {row.place for row in score.rows}  # pixels of a drone: 1000 a block
    assert place.city == "beta_scene"
