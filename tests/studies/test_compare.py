"""Comparisons: what differs is told apart, what does not is not, and other ground is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from builtup.errors import BuiltupError, InputError, RunError
from builtup.runs import tracking
from builtup.scoring.blocks import BlockRow, Place, write_blocks
from builtup.studies.compare import compare, differences, read_candidate, require_same

FOLDS = ("38SLF_Alpha", "38RPV_Beta", "38SMA_Gamma")


def write_candidate(
    root: Path,
    name: str,
    hit: float = 0.8,
    seeds: tuple[int, ...] = (0,),
    folds: tuple[str, ...] = FOLDS,
    noise: int = 0,
    spread: float = 0.0,
    built_up: int = 300,
    number: int = 30,
    overrides: str = "",
) -> Path:
    """A cross-validation whose network finds a share `hit` of the buildings of each block."""
    truth = np.random.default_rng(0)
    rows = []
    for fold in folds:
        for i in range(number):
            buildings = int(truth.integers(built_up // 2, built_up)) if built_up else 0
            for seed in seeds:
                own = np.random.default_rng((seed, i, noise))
                share = float(np.clip(hit + own.normal(0, 0.05) + spread * (seed - 1), 0, 1))
                tp, fp = round(buildings * share), int(own.integers(20, 40))
                cells = [tp, fp, buildings - tp, 4096 - buildings - fp]
                place = Place(fold, fold, i // 6, i % 6)
                rows.append(BlockRow(seed, place, "scene", np.array([cells, cells])))
    folder = root / name
    write_blocks(folder / "blocks.csv", rows)
    (folder / "cross_validation.json").write_text(
        json.dumps({"config": name, "overrides": overrides})
    )
    return folder


def apart(one: Path, other: Path) -> dict[str, bool]:
    found = differences([read_candidate(str(one)), read_candidate(str(other))], resamples=500)
    return {f"{d.score} {d.threshold}": d.apart for d in found}


def test_a_better_network_is_told_apart(tmp_path: Path) -> None:
    one, other = write_candidate(tmp_path, "good", 0.9), write_candidate(tmp_path, "bad", 0.7)
    found = differences([read_candidate(str(one)), read_candidate(str(other))], resamples=500)
    first = found[0]
    assert first.apart
    assert first.macro_interval.low < first.macro < first.macro_interval.high
    assert first.sentence().startswith("good is better than bad in F1 at the 95 % level")
    assert set(first.by_fold) == set(FOLDS)
    assert first.macro == pytest.approx(np.mean(list(first.by_fold.values())))


def test_two_that_differ_by_noise_cannot_be_told_apart(tmp_path: Path) -> None:
    one = write_candidate(tmp_path, "a", noise=1)
    other = write_candidate(tmp_path, "b", noise=2)
    assert not any(apart(one, other).values())
    found = differences([read_candidate(str(one)), read_candidate(str(other))])
    assert "a and b cannot be told apart in F1 at the 95 % level" in found[0].sentence()


def test_the_same_is_no_different(tmp_path: Path) -> None:
    one = write_candidate(tmp_path, "a")
    found = differences([read_candidate(str(one))] * 2)
    assert found[0].macro == 0
    assert (found[0].macro_interval.low, found[0].macro_interval.high) == (0, 0)
    assert not found[0].apart


def test_pairing_tells_apart_what_separate_intervals_could_not(tmp_path: Path) -> None:
    """Blocks differ much, the two networks by a little on every block."""
    from builtup.scoring.summary import figures_of

    one, other = write_candidate(tmp_path, "a", 0.82), write_candidate(tmp_path, "b", 0.80)
    a, b = (figures_of(read_candidate(str(path)).table)[0] for path in (one, other))
    assert a.macro_interval.low < b.macro_interval.high  # they overlap
    assert apart(one, other)["f1 chosen"]


def test_seeds_that_scatter_widen_the_interval(tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    one = write_candidate(tmp_path, "a", 0.82, seeds, spread=0.05)
    other = write_candidate(tmp_path, "b", 0.80, seeds, spread=0.05)
    assert not apart(one, other)["f1 chosen"]


def test_uses_of_the_same_trainings_are_told_apart_in_spite_of_their_scatter(
    tmp_path: Path,
) -> None:
    seeds = (0, 1, 2)
    one = write_candidate(tmp_path, "a", 0.82, seeds, spread=0.05)
    other = write_candidate(tmp_path, "b", 0.80, seeds, spread=0.05)
    both = [read_candidate(str(path)) for path in (one, other)]
    assert not differences(both, resamples=500)[0].apart
    assert differences(both, resamples=500, same_trainings=True)[0].apart
    itself = differences([both[0], both[0]], resamples=500, same_trainings=True)[0]
    assert itself.macro_interval.low == itself.macro_interval.high == 0


def test_tables_and_sentences_are_written_and_logged(project: Path, tmp_path: Path) -> None:
    short = write_candidate(tmp_path, "bad", 0.7, overrides="num_epochs=1")
    paths = [write_candidate(tmp_path, "good", 0.9), short]
    text = compare(runs=";".join(map(str, paths)), output=str(tmp_path / "out"))
    assert "| good |" in text and "good is better than bad" in text
    assert "one seed only (good, bad)" in text
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert rows["| bad"].endswith("| num_epochs=1 |") and rows["| good"].endswith("| – |")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "compare.json",
        "compare.csv",
        "compare.md",
    }
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [d["apart"] for d in record["differences"]] == [True] * 4
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    (run,) = own.search_runs([experiment], filter_string="tags.compared LIKE '%good%'")
    assert run.data.metrics["good/macro_over_folds_f1"] > 0.85


def test_two_of_one_name_are_numbered_and_logged(project: Path, tmp_path: Path) -> None:
    one = write_candidate(tmp_path / "a", "same", 0.9)
    other = write_candidate(tmp_path / "b", "same", 0.7)
    text = compare(runs=f"{one};{other}", output=str(tmp_path / "out"), resamples=200)
    assert "same 1" in text and "same 2" in text
    own = tracking.client()
    experiment = own.get_experiment_by_name("Trainings").experiment_id
    (run,) = own.search_runs([experiment], filter_string="tags.compared LIKE '%same%'")
    scores = [run.data.metrics[f"same {i}/macro_over_folds_f1"] for i in (1, 2)]
    assert scores[0] > scores[1]


def test_a_city_without_buildings_is_undefined_for_both(tmp_path: Path) -> None:
    paths = [write_candidate(tmp_path, name, built_up=0) for name in "ab"]
    found = differences([read_candidate(str(path)) for path in paths])
    assert found[0].sentence() == "a and b: F1 is undefined on this ground"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": FOLDS[:2]}, "different ground: folds 38SMA_Gamma of one only"),
        ({"number": 29}, "different ground: 3 blocks of one only"),
        ({"built_up": 200}, "hold other labels or dates"),
    ],
)
def test_other_ground_is_refused(tmp_path: Path, options: dict, message: str) -> None:
    paths = [write_candidate(tmp_path, "a"), write_candidate(tmp_path, "b", **options)]
    with pytest.raises(BuiltupError, match=message):
        require_same([read_candidate(str(path)) for path in paths])


def test_what_is_no_cross_validation_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(BuiltupError, match="give two or more"):
        compare(runs="one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no cross-validation"):
        read_candidate(str(tmp_path / "empty"))
    with pytest.raises(RunError, match="no such run"):
        read_candidate("0123456789abcdef0123456789abcdef")
    with pytest.raises(RunError, match=r"never_validated\.py: no finished cross-validation; run"):
        read_candidate("configs/train/never_validated.py")
