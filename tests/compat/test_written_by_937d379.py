"""What commit 937d379 left on disk is read by the code of today, through its command line."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from unpacked import snapshot, unpack

from builtup.cli import cli

CODE = Path(__file__).parents[2] / "code" / "scripts"
CONFIGS = Path(__file__).parents[2] / "configs"
#: Overrides of the old training, and of the old inferences.
TRAINED = (
    "device=cpu num_workers=0 widths=(4,4,4,4) batch_size=4 samples_per_epoch=96 crop=32 "
    "val_interval=1 lr=0.02 log_predictions=0"
)
PREDICTED = "device=cpu window=32 overlap=8 tta=none save_overlays=false"
WINDOWS = {"window": 32, "overlap": 8, "device": "cpu", "num_workers": 1}
#: Steps whose version rose since, and why: what they made is made anew, and what follows may be.
RAISED: Mapping[str, str] = {
    "all_agg_by_city": "the probability says its scale and unit",
    "rasterize": "long edges stay where they are in the polygons' CRS, background is left out",
    "polygonize": "the GeoPackage's polygons are generalised otherwise",
    "write_products": "without FlatGeobuf, styles by threshold, previews on the radar image",
}


@dataclass(frozen=True)
class Project:
    """The old project, in a folder of this test, which is the current one."""

    folder: Path
    runs: Mapping[str, str]

    def artifacts(self, name: str) -> Path:
        """The folder of a run's artifacts."""
        experiment = "1" if name == "training" else "2"
        return self.folder / "output" / "mlruns" / experiment / self.runs[name] / "artifacts"

    def raw(self, name: str) -> Path:
        """The folder of an inference's maps."""
        return self.artifacts(name) / "raw"

    def newest(self, experiment: str) -> Path:
        """The artifacts of the run that was recorded last in an experiment's folder."""
        folders = (self.folder / "output" / "mlruns" / experiment).glob("*/artifacts")
        return max(folders, key=lambda folder: folder.stat().st_ctime_ns)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    runs = unpack(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/output/mlflow.db")
    return Project(tmp_path, runs)


@pytest.fixture(autouse=True)
def one_thread(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.INFO)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(command: str, **options: object) -> str:
    """Run a command in this process; what it printed. Its error is raised."""
    given = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    outcome = CliRunner().invoke(cli, [command, *given], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


def run_script(script: str, config: str, overrides: str) -> None:
    run(
        "main",
        script_path=CODE / f"{script}.py",
        config_path=CONFIGS / config,
        overrides=overrides,
    )


def pixels(path: Path) -> NDArray[np.float64]:
    with rasterio.open(path) as dataset:
        return np.nan_to_num(dataset.read().astype(np.float64), nan=-1)


def assert_alike(one: Path, other: Path, pattern: str, most: float = 0) -> None:
    """Two folders hold the same rasters; values differ by `most` (a network's, by a level)."""
    names = sorted(str(path.relative_to(one)) for path in one.glob(pattern))
    assert names
    for name in names:
        before, after = pixels(one / name), pixels(other / name)
        assert before.shape == after.shape, name
        assert np.abs(before - after).max() <= most, name


STEPS: Mapping[str, tuple[Mapping[str, object], ...]] = {
    "generate_3b_images": (
        {},
        {"input_path": "input/test", "output_path": "output/test/images_3b"},
    ),
    "rasterize": ({},),
    "generate_tiles": (
        {"tile_size": 48, "overlap": 8},
        {
            "tile_size": 48,
            "overlap": 8,
            "input_path": "output/train/masks",
            "output_path": "input/train_tiles/masks",
        },
    ),
    "generate_test_tiles": ({"tile_size": 64, "overlap": 16},),
    "generate_tiles_stats": ({},),
    "merge_tiles": ({},),
    "all_agg_by_city": ({},),
    "polygonize": ({},),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_was_done_has_nothing_to_do(project: Project, step: str) -> None:
    before = snapshot(project.folder)
    for options in STEPS[step]:
        of = {"run_id": project.runs["test"]} if step in list(STEPS)[5:] else {}
        printed = run(step, num_workers=1, **options, **of)
        assert ("nothing to do" in printed) is (step not in RAISED), printed
    if step not in RAISED:
        after = snapshot(project.folder)
        assert [name for name in before if before[name] != after[name]] == []
        assert after.keys() == before.keys()


def test_a_prediction_that_was_done_has_nothing_to_do(project: Project) -> None:
    before = snapshot(project.folder / "output" / "predict")
    how = {**WINDOWS, "adapt": "none"}  # as it was: else scenes are looked at first
    printed = run("predict", model=project.runs["training"], input_path="input/test", **how)
    lines = {line.partition(":")[0]: line for line in printed.splitlines()[:4]}
    assert list(lines) == ["predict", "all_agg_by_city", "polygonize", "write_products"]
    first_raised = min([list(lines).index(step) for step in RAISED if step in lines], default=4)
    assert all("nothing to do" in line for line in list(lines.values())[:first_raised]), printed
    if first_raised == 4:
        assert snapshot(project.folder / "output" / "predict") == before


@pytest.mark.parametrize("model", ["run", "champion", "weights", "folder"])
def test_an_old_training_predicts_as_it_did(project: Project, model: str) -> None:
    of = {
        "run": project.runs["training"],
        "champion": "models:/recommended_cpu@champion",
        "weights": project.artifacts("training") / "weights" / "best.pt",
        "folder": project.artifacts("training"),
    }[model]
    run("predict", model=of, input_path="input/test", output_path="predicted", **WINDOWS)
    assert_alike(Path("output/predict/raw"), Path("predicted/raw"), "*prob*.tif", most=1)


@pytest.mark.parametrize("name", ["held_out", "test"])
def test_an_old_training_is_inferred_with_as_it_was(project: Project, name: str) -> None:
    config = {"held_out": "validate", "test": "test"}[name]
    overrides = f"run_id={project.runs['training']} {PREDICTED}"
    run_script("inference", f"inference/{config}.py", overrides)
    assert_alike(project.raw(name), project.newest("2") / "raw", "*_tiles/*.tif", most=1)


def test_an_old_inference_is_resumed(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(project.raw("test"), "before")
    tiles = sorted(project.raw("test").glob("*_tiles/*.tif"))
    tiles[0].unlink()
    of = f"run_id={project.runs['training']} resume_from={project.runs['test']}"
    run_script("inference", "inference/test.py", f"{of} {PREDICTED}")
    assert f"1 tiles predicted, {len(tiles) - 1} kept from before" in caplog.text
    assert_alike(Path("before"), project.newest("2") / "raw", "*_tiles/*.tif", most=1)


def test_an_old_training_is_resumed(project: Project) -> None:
    overrides = f"{TRAINED} num_epochs=3 log_model=false resume_from={project.runs['training']}"
    run_script("training", "train/recommended_cpu.py", overrides)
    resumed = project.newest("1")
    state = torch.load(resumed / "checkpoints" / "last.pt", weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["iteration"]) == (3, 72)
    assert json.loads((resumed / "summary.json").read_text())["iterations"] == 72


def test_old_tiles_are_merged_averaged_and_drawn_again_to_the_same(project: Project) -> None:
    raw, old = project.raw("test"), project.folder / "old"
    shutil.copytree(raw, old)
    for path in (path for path in raw.iterdir() if not path.name.endswith("_tiles")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run("to_submission", run_id=project.runs["test"], num_workers=1)
    assert_alike(old, raw, "*.tif", most=1e-6)
    assert (raw / "38SLC_Gamma.shp").read_bytes() == (old / "38SLC_Gamma.shp").read_bytes()


@pytest.mark.parametrize("name", ["held_out", "test"])
def test_old_maps_have_their_old_scores(project: Project, name: str) -> None:
    record = project.artifacts(name) / "validation.json"
    before = json.loads(record.read_text())
    split = {"held_out": "train", "test": "test"}[name]
    printed = run("validate", run_id=project.runs[name], gt_path=f"input/{split}")
    after = json.loads(record.read_text())
    assert before["scores"] == after["scores"]
    assert before["cities"] == after["cities"]
    assert ("tuned on" in printed) is (name == "held_out")
    assert (project.artifacts(name) / "report.html").is_file()


def test_a_report_is_written_of_old_maps(project: Project) -> None:
    run("report", run_id=project.runs["test"])
    run("report", input_path="output/predict", gt_path="input/test")
    for folder in (project.artifacts("test"), project.folder / "output" / "predict"):
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "38SLC_Gamma" in page
        assert project.runs["training"] in page


@pytest.mark.parametrize("of", ["training", "held_out", "test", "polygons", "prediction"])
def test_an_old_result_is_traced_to_its_scenes(project: Project, of: str) -> None:
    if of == "polygons":
        printed = run("trace", input_path=project.raw("test") / "38SLC_Gamma.gpkg")
    elif of == "prediction":
        printed = run("trace", input_path="output/predict")
    else:
        printed = run("trace", run_id=project.runs[of])
    assert project.runs["training"] in printed
    assert "recommended_cpu.py sha256" in printed
    assert "s1a_38SLA_vv_ASC_20150101.tif sha256" in printed
    assert ("s1a_38SLC_vv_ASC_20160304.tif sha256" in printed) is (
        of in {"test", "polygons", "prediction"}
    )
    assert "not known" not in printed
    assert "(used)" in printed or of == "training"


def test_old_maps_are_averaged(project: Project) -> None:
    members = f"{project.runs['test']};output/predict"
    run("ensemble", input_paths=members, output_path="mean", num_workers=1)
    run("to_submission", input_path="mean", num_workers=1)
    names = [f"raw/s1a_38SLC_prob_ASC_{date}.tif" for date in ("20160304", "20160405")]
    for name in names:
        folders = (project.artifacts("test"), Path("output/predict"), Path("mean"))
        one, other, mean = (pixels(folder / name) for folder in folders)
        assert (np.minimum(one, other) <= mean).all()
        assert (mean <= np.maximum(one, other)).all()


def test_an_old_cross_validation_is_compared(project: Project) -> None:
    old = project.folder / "output" / "cross_validation" / "recommended_cpu"
    config = "configs/train/recommended_cpu.py"  # its newest finished cross-validation
    shutil.copytree(old, "copied")
    printed = run("compare", runs=f"copied;{config}", output="compared")
    assert "copied and recommended_cpu cannot be told apart in F1" in printed
    figures = json.loads((project.folder / "compared" / "compare.json").read_text())
    assert "copied" in str(figures)


def test_the_folds_of_an_old_cross_validation_are_kept(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    old = project.folder / "output" / "cross_validation" / "recommended_cpu"
    before = (old / "blocks.csv").read_bytes()
    config = project.folder / "configs" / "train" / "recommended_cpu.py"  # as it was then
    overrides = TRAINED.replace("crop=32", "crop=32 num_epochs=1")
    run("cross_validate", config_path=config, overrides=overrides, output="again")
    kept = [line for line in caplog.text.splitlines() if "kept, run" in line]
    assert len(kept) == 2
    assert (project.folder / "again" / "blocks.csv").read_bytes() == before


def test_a_threshold_is_taken_from_an_old_cross_validation(project: Project) -> None:
    overrides = f"{TRAINED} num_epochs=1 log_model=false threshold_from=recommended_cpu"
    run_script("training", "train/no_val/recommended_cpu.py", overrides)
    old = project.folder / "output" / "cross_validation" / "recommended_cpu"
    folds = json.loads((old / "cross_validation.json").read_text())["folds"]
    mean = sum(fold["threshold"] for fold in folds) / len(folds)
    summary = json.loads((project.newest("1") / "summary.json").read_text())
    assert summary["threshold"] == pytest.approx(mean)
