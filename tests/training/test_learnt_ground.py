"""Ground that weights were learnt from: known by its place, whatever its folds are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builtup.config.load import Config, load
from builtup.data import loaders
from builtup.data.contract import as_tile_loader
from builtup.errors import LeakageError
from builtup.runs.records import Summary
from builtup.tiles.stats import generate_tiles_stats
from builtup.training.learnt_ground import Held, LearntGround
from tiny_folds import write_cities, write_config
from tiny_training import write_tiny

ALPHA, BETA, GAMMA = "38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma"


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of two cities, a fold each."""
    return write_cities(tmp_path_factory.mktemp("cities"), ("Alpha", "Beta"))


@pytest.fixture(scope="module")
def blocks(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tiles in folds of 2x2 blocks."""
    return redrawn(tiles, tmp_path_factory.mktemp("blocks") / "tiles", "2x2")


def redrawn(tiles: Path, target: Path, blocks: str) -> Path:
    shutil.copytree(tiles, target)
    generate_tiles_stats(
        input_path=target, output_path=target, folds="blocks", blocks=blocks, gap=4, num_workers=1
    )
    return target


def loader(folder: Path, fold: str | int | None) -> Any:
    return loaders.train_loader(folder, val_fold=fold, batch_size=2, crop=32)


def learnt(folder: Path, fold: str | int | None) -> LearntGround:
    """As it comes back from a file."""
    ground = LearntGround.of(loader(folder, fold))
    return LearntGround.from_json(json.loads(json.dumps(ground.to_json())))


def held(folder: Path, fold: str) -> Held:
    return Held.of_fold(folder, fold)


def test_the_fold_that_was_held_out_may_be_held_out_again(tiles: Path, blocks: Path) -> None:
    assert learnt(tiles, ALPHA).seen_of(held(tiles, ALPHA)) == []
    for block in (f"{ALPHA}/r0c0", f"{ALPHA}/r1c1"):
        assert learnt(blocks, block).seen_of(held(blocks, block)) == []


def test_ground_that_was_learnt_is_seen_whatever_its_fold_is_called(
    tiles: Path, blocks: Path, tmp_path: Path
) -> None:
    assert learnt(tiles, ALPHA).seen_of(held(tiles, BETA)) == [BETA]
    assert learnt(tiles, None).seen_of(held(tiles, ALPHA)) == [ALPHA]
    # folds of cities drawn anew as blocks, and back
    assert learnt(tiles, ALPHA).seen_of(held(blocks, f"{ALPHA}/r0c1")) == []
    assert learnt(tiles, ALPHA).seen_of(held(blocks, f"{BETA}/r0c1")) == [f"{BETA}/r0c1"]
    assert learnt(blocks, f"{ALPHA}/r0c0").seen_of(held(tiles, ALPHA)) == [ALPHA]
    # other blocks, one of them of the name of the one that was held out
    other = redrawn(tiles, tmp_path / "tiles", "rows=72;cols=72")
    same_name = f"{ALPHA}/r0c0"
    assert learnt(blocks, same_name).seen_of(held(other, same_name)) == [same_name]


def test_what_earlier_runs_learnt_is_handed_on(tiles: Path) -> None:
    both = learnt(tiles, ALPHA).and_of(learnt(tiles, BETA))
    assert (both.held_out, both.folds) == (ALPHA, (ALPHA, BETA))
    assert both.seen_of(held(tiles, ALPHA)) == [ALPHA]


def test_a_city_that_was_added_may_be_held_out(tiles: Path, tmp_path: Path) -> None:
    more = write_cities(tmp_path)
    assert learnt(tiles, ALPHA).seen_of(held(more, GAMMA)) == []
    assert learnt(tiles, None).seen_of(held(more, BETA)) == [BETA]


def test_an_older_run_is_known_by_the_names_of_its_folds(tiles: Path, tmp_path: Path) -> None:
    Summary(val_fold=ALPHA, trained_on=(BETA,), finished=True).write(tmp_path)
    behind = LearntGround.behind(tmp_path)
    assert behind is not None and behind.held_out == ALPHA
    assert behind.seen_of(held(tiles, BETA)) == [BETA]
    assert behind.seen_of(Held((f"{BETA}/r0c0",))) == [BETA]
    # with the ground of a run that goes on with it, names still count
    assert behind.and_of(learnt(tiles, BETA)).seen_of(held(tiles, BETA)) == [BETA]
    assert LearntGround.behind(tmp_path / "nowhere") is None


def test_a_run_that_never_wrote_its_summary_is_known_by_its_config(
    tiles: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    settings = {"data_path": str(tiles), "val_fold": 1}
    text = json.dumps({"files": ["x.py"], "settings": settings})
    (tmp_path / "config" / "settings.json").write_text(text)
    behind = LearntGround.behind(tmp_path)
    assert behind is not None and (behind.held_out, behind.folds) == (BETA, (ALPHA,))


def test_the_refusal_names_both_grounds(tiles: Path) -> None:
    with pytest.raises(LeakageError, match=rf"cfg: that run has learnt from {BETA} .*{ALPHA}"):
        learnt(tiles, ALPHA).require_unseen(held(tiles, BETA), "cfg", "that run", "begin anew")


def test_loaders_of_a_config_s_own_are_compared_tile_by_tile(tmp_path: Path) -> None:
    config: Config = load(write_tiny(tmp_path))
    train, val = (as_tile_loader(config.build(name)) for name in ("train_loader", "val_loader"))
    ground = LearntGround.of(train)
    assert ground.tile_ids[0] == "tile_0" and not ground.areas
    assert ground.seen_of(Held.by(config, train, val)) == []
    assert ground.seen_of(Held.by(config, train, train)) == [f"tile_{i}" for i in range(6)]


def test_a_fold_that_is_left_to_be_scored_later_is_held_out(tiles: Path, tmp_path: Path) -> None:
    overrides = f"val_fold={ALPHA} threshold_fold={BETA} validate=false"
    config = load(write_config(tmp_path, tiles), overrides)
    train = loaders.train_loader(
        write_cities(tmp_path), val_fold=ALPHA, threshold_fold=BETA, batch_size=2, crop=32
    )
    assert Held.by(config, train, None).names == (ALPHA, BETA)


def test_a_city_is_known_as_commits_before_spelled_it() -> None:
    before = LearntGround(folds=("38SLF_New York",), named=("38SLF_New York",))
    assert before.seen_of(Held(("38SLF_New_York",))) == ["38SLF_New York"]
    assert before.seen_of(Held(("38SLF_New_York/r0c1",))) == ["38SLF_New York"]
    assert before.seen_of(Held(("38SLF_Newark",))) == []
