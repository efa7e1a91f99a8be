"""Cross-validation on tiny cities: what is trained, kept, scored and reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.runs import tracking
from builtup.runs.records import Summary
from builtup.runs.study_records import SearchRecord
from builtup.scoring.blocks import BlockTable, read_blocks
from builtup.scoring.counts import f1
from builtup.studies.compare import compare, read_candidate
from builtup.studies.cross_validate import cross_validate, plan
from builtup.tiles.folds import Folds
from tiny_folds import children, newest_parent, write_cities, write_config

OUTPUT = "output/cross_validation/tiny"


def test_every_city_is_left_out_in_turn_in_a_nested_run(done: str, project: Path) -> None:
    text = done
    parent = newest_parent()
    assert parent.info.status == "FINISHED"
    folds = {run.data.tags["fold"]: run for run in children(parent)}
    assert set(folds) == {"38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma"}
    for name, run in folds.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags["city"] == name
        assert run.data.params["cfg/val_fold"] == name
        assert name not in run.data.tags["threshold_tuned_on"]
        folder = tracking.artifact_folder(run)
        assert folder is not None
        summary = json.loads((folder / "summary.json").read_text())
        assert name not in summary["threshold_tuned_on"] and summary["threshold_tuned_on"]
        assert "metrics" not in summary or not summary["metrics"]  # it was never validated
    record = json.loads((project / OUTPUT / "cross_validation.json").read_text())
    figures = {(f["score"], f["threshold"]): f for f in record["figures"]}
    pooled = figures["f1", "chosen"]
    assert pooled["pooled_interval"]["low"] <= pooled["pooled"] <= pooled["pooled_interval"]["high"]
    assert parent.data.metrics["val/f1"] == pytest.approx(pooled["pooled"])
    assert parent.data.metrics["val/worst_city_f1"] == pytest.approx(pooled["worst"])
    assert pooled["pooled"] > 0.5  # it has learnt something
    assert "38SAA_Alpha" in text and "2000 resamples" in text


def test_a_city_without_a_building_has_no_score_and_is_left_out_of_the_mean(
    done: str, project: Path
) -> None:
    text = done
    with (project / OUTPUT / "folds.csv").open() as file:
        rows = {row["fold"]: row for row in csv.DictReader(file)}
    assert rows["38SCC_Gamma"]["f1"] == "" and rows["38SCC_Gamma"]["building_pixels"] == "0"
    record = json.loads((project / OUTPUT / "cross_validation.json").read_text())
    figures = record["figures"][0]
    others = [float(rows[name]["f1"]) for name in ("38SAA_Alpha", "38SBB_Beta")]
    assert figures["macro"] == pytest.approx(np.mean(others))
    assert figures["spread"] == pytest.approx(np.std(others, ddof=1))
    assert figures["undefined"] == ["38SCC_Gamma"]
    assert "left out of the macro mean: 38SCC_Gamma" in text


def test_the_blocks_hold_every_held_out_pixel_once(done: str, cities: Path, project: Path) -> None:
    import rasterio

    table = BlockTable.of(read_blocks(project / OUTPUT / "blocks.csv"))
    for fold, counts in zip(table.folds, table.by_fold(), strict=True):
        city = fold.split("_")[1]
        (mask,) = (cities / "masks" / f"{city}_2015").glob("*.tif")
        with rasterio.open(mask) as dataset:
            truth = dataset.read(1)
        for at in counts[0]:
            tp, fp, fn, tn = at
            assert (tp + fn, fp + tn) == ((truth == 1).sum(), (truth == 0).sum())


def test_finished_folds_are_kept(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    before = json.loads((project / OUTPUT / "cross_validation.json").read_text())
    in_process.clear()
    cross_validate(config_path=cities / "tiny.py", overrides="num_epochs=6")
    assert in_process == []
    after = json.loads((project / OUTPUT / "cross_validation.json").read_text())
    assert before["figures"] == after["figures"]
    assert all(fold["kept"] for fold in after["folds"])


def test_a_config_in_another_folder_is_another_config(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    path = cities / "configs" / "train" / "no_val" / "tiny.py"
    path.parent.mkdir(parents=True)
    path.write_text((cities / "tiny.py").read_text())
    newest = newest_parent().info.run_id
    cross_validate(config_path=path, folds="Alpha;Beta", overrides="num_epochs=6")
    assert in_process == []  # the same trainings
    found = (project / OUTPUT).with_name("no_val") / "tiny" / "cross_validation.json"
    record = json.loads(found.read_text())
    assert (record["config"], record["overrides"]) == ("no_val/tiny", "num_epochs=6")
    assert newest_parent().info.run_id == newest
    candidates = [read_candidate(str(p)) for p in (path, cities / "tiny.py")]
    assert [c.name for c in candidates] == ["no_val/tiny", "tiny"]
    assert [len(c.table.folds) for c in candidates] == [2, 3]


@pytest.mark.parametrize("name", ["val_fold=1", "validate=true", "resume_from=abc"])
def test_what_it_sets_itself_is_refused(cities: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is set by cross_validate itself"):
        plan(cities / "tiny.py", "", "", name)


def test_class_names_that_do_not_fit_are_refused_before_a_fold_is_trained(cities: Path) -> None:
    with pytest.raises(ConfigError, match=r"class_names has 2 names .* for num_classes = 3"):
        plan(cities / "tiny.py", "", "", "num_classes=3 class_names=background,building")
    with pytest.raises(InputError, match=r"tiles: no tiles .* that name 3 classes; .*class_names"):
        plan(cities / "tiny.py", "", "", "num_classes=3")


def test_an_unknown_fold_and_a_wrong_seed_are_refused(cities: Path) -> None:
    with pytest.raises(InputError, match=r"fold Omega: .* known: 0: 38SAA_Alpha"):
        plan(cities / "tiny.py", "Omega", "", "")
    with pytest.raises(ConfigError, match="seeds=a: expected integers"):
        plan(cities / "tiny.py", "", "a", "")


def test_one_city_is_offered_blocks(cities: Path, tmp_path: Path) -> None:
    values = json.loads((cities / "tiles" / "folds.json").read_text())
    alpha = {k: v for k, v in values["scenes"].items() if v["city"] == "38SAA_Alpha"}
    (tmp_path / "folds.json").write_text(
        json.dumps({**values, "names": ["38SAA_Alpha"], "scenes": alpha})
    )
    assert len(Folds.read(tmp_path).names) == 1
    with pytest.raises(BuiltupError, match=r"needs two folds.*38SAA_Alpha.*folds=blocks"):
        plan(cities / "tiny.py", "", "", f"data_path={tmp_path}")


def test_pooled_f1_is_that_of_all_held_out_pixels(done: str, project: Path) -> None:
    table = BlockTable.of(read_blocks(project / OUTPUT / "blocks.csv"))
    record = json.loads((project / OUTPUT / "cross_validation.json").read_text())
    total = table.counts[:, 0, 0].sum(axis=0)
    assert record["figures"][0]["pooled"] == pytest.approx(float(f1(total)))


def test_the_threshold_may_come_from_a_city_that_training_never_saw(
    cities: Path, project: Path, in_process: list[str]
) -> None:
    options = "num_epochs=2 threshold_fold=next"
    tasks, _ = plan(cities / "tiny.py", "", "", options)
    assert [t.config.threshold_fold for t in tasks] == ["38SBB_Beta", "38SCC_Gamma", "38SAA_Alpha"]
    text = cross_validate(
        config_path=cities / "tiny.py", folds="Alpha", overrides=options, output="output/inner"
    )
    (child,) = [run for run in children(newest_parent()) if run.data.tags["fold"] == "38SAA_Alpha"]
    assert child.data.tags["threshold_tuned_on"] == "38SBB_Beta"
    assert "tiles of 38SBB_Beta, held out of training as well" in text
    folder = tracking.artifact_folder(child)
    assert folder is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["threshold_tuned_on"] == ["38SBB_Beta"]


def test_two_folds_leave_no_third_for_the_threshold(project: Path, tmp_path: Path) -> None:
    tiles = write_cities(tmp_path, ("Alpha", "Beta"))
    with pytest.raises(BuiltupError, match="two folds leave nothing to train on"):
        plan(write_config(tmp_path, tiles), "", "", "threshold_fold=next")


def test_several_seeds_have_a_spread(cities: Path, project: Path, in_process: list[str]) -> None:
    cross_validate(
        config_path=cities / "tiny.py",
        folds="Alpha;Beta",
        seeds="0;1",
        overrides="num_epochs=6",
        output="output/seeds",
    )
    with (project / "output" / "seeds" / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["fold"], row["seed"]) for row in rows] == [
        ("38SAA_Alpha", "0"),
        ("38SBB_Beta", "0"),
        ("38SAA_Alpha", "1"),
        ("38SBB_Beta", "1"),
    ]
    record = json.loads((project / "output" / "seeds" / "cross_validation.json").read_text())
    figures = record["figures"][0]
    f1_of = {(row["fold"], row["seed"]): float(row["f1"]) for row in rows}
    means = [np.mean([f1_of[f, s] for f in ("38SAA_Alpha", "38SBB_Beta")]) for s in "01"]
    assert figures["spread_over_seeds"] == pytest.approx(np.std(means, ddof=1))
    assert figures["macro"] == pytest.approx(np.mean(means))


def test_blocks_of_one_city_are_left_out_in_turn(
    project: Path, tmp_path: Path, in_process: list[str]
) -> None:
    tiles = write_cities(tmp_path, ("Alpha",), shape=(120, 120), folds="blocks")
    path = write_config(tmp_path, tiles, "blocks")
    cross_validate(config_path=path, folds="38SAA_Alpha/r0c0;38SAA_Alpha/r1c1")
    record = json.loads(
        (project / "output/cross_validation/blocks/cross_validation.json").read_text()
    )
    assert record["kind"] == "blocks"
    assert record["ground"] == ["38SAA_Alpha/r0c0", "38SAA_Alpha/r1c1"]
    tuned = record["folds"][0]["threshold_tuned_on"]
    assert tuned == "38SAA_Alpha/r0c1, 38SAA_Alpha/r1c0, 38SAA_Alpha/r1c1"
    # every labelled pixel of the block, and none of another, was scored
    assert 2 * 60 * 60 - 60 * 3 >= sum(f["pixels"] for f in record["folds"]) > 6500


def test_two_configs_are_compared_by_their_names(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    path = cities / "worse.py"
    path.write_text((cities / "tiny.py").read_text().replace("4, 0, 0.02, 6", "4, 0, 0.0, 6"))
    cross_validate(config_path=path, overrides="num_epochs=6")
    assert read_candidate(str(path)).name == "worse"
    text = compare(runs=f"{OUTPUT};{path}", output="output/compared")
    assert "tiny is better than worse in F1 at the 95 % level" in text
    record = json.loads((project / "output" / "compared" / "compare.json").read_text())
    assert set(record["figures"]) == {"tiny", "worse"}


def test_folds_that_chose_the_settings_are_said_to_be_tuned_on(
    done: str, cities: Path, project: Path, in_process: list[str]
) -> None:
    """The trainings are kept; what a search of Alpha has chosen is from now on tuned on it."""
    own = tracking.client()
    search = own.create_run(tracking.experiment_id(own, "Trainings")).info.run_id
    ground = SearchRecord(config="searched", metric="val/iou", ground=("38SAA_Alpha",))
    ground.write(tracking.run_artifacts(search) / SearchRecord.FOLDER)
    text = cross_validate(
        config_path=cities / "tiny.py",
        overrides=f"num_epochs=6 tuned_by={search}",
        output="output/tuned",
    )
    assert in_process == []
    assert "settings tuned on 38SAA_Alpha: scores there are not of unseen ground" in text
    for run in children(tracking.find_run(text.split()[-1])):
        summary = Summary.read(tracking.run_artifacts(run.info.run_id))
        assert summary.settings_tuned_on == ("38SAA_Alpha",)
    assert read_candidate("output/tuned").tuned_on == ("38SAA_Alpha",)
    compared = compare(runs=f"output/tuned;{OUTPUT}", output="output/compared_tuned")
    assert "tuned: its settings are tuned on 38SAA_Alpha, where it may look" in compared
    with pytest.raises(ConfigError, match="tuned_by = nowhere: no search can be read"):
        cross_validate(config_path=cities / "tiny.py", overrides="num_epochs=6 tuned_by=nowhere")
