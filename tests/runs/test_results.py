from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from builtup.errors import InputError, RunError
from builtup.runs.records import EnsembleRecord, InferenceRecord
from builtup.runs.results import (
    PredictionTags,
    Results,
    city_rasters,
    kind_of,
    resolve_results,
    scene_rasters,
    upload_results,
)

TAGS = PredictionTags(
    "s1a_38SLF_{}_ASC_20150101", "38SLF_Alpha", 30, 20, "abc", 0.37, ("background", "building")
)


def write_raster(path: Path, tags: dict[str, str]) -> Path:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=3,
        height=2,
        count=1,
        dtype="uint8",
        crs="EPSG:32638",
        transform=from_origin(300000, 4000000, 10, 10),
    ) as dataset:
        dataset.write(np.zeros((1, 2, 3), np.uint8))
        dataset.update_tags(**tags)
    return path


@pytest.mark.parametrize(
    ("name", "tags", "kind"),
    [
        ("s1a_38SLF_prob_ASC_20150101", {}, "scene"),  # reading it says that it lacks its tags
        ("s1a_38SLF_3b_ASC_20150101", {}, ""),
        ("38SLF_Alpha", {}, "classes"),
        ("38SLF_Alpha_prob", TAGS.as_gdal() | {"BUILTUP_SCENE": ""}, ""),
        ("38SLF_Alpha_std", {}, ""),
        ("38SLF_Alpha_count", {}, ""),
        ("beirut_prob", TAGS.as_gdal(), "scene"),  # a foreign scene that `predict` named so
        ("beirut_prob", {}, ""),
        ("beirut", {}, ""),
        ("beirut", {"BUILTUP_KIND": "classes"}, "classes"),
        ("38SLF_Alpha_confidence", {}, ""),
        ("beirut_prob", {"BUILTUP_KIND": "prob"}, "prob"),
        ("beirut_prob", None, "scene"),  # unreadable: reading it says so
        ("beirut", None, ""),
        (".beirut.94a99db1-1.partial.draft", {"BUILTUP_KIND": "classes"}, ""),  # of a killed one
    ],
)
def test_what_a_raster_is_its_name_or_its_tags_say(
    tmp_path: Path, name: str, tags: dict[str, str] | None, kind: str
) -> None:
    path = tmp_path / "raw" / f"{name}.tif"
    path.parent.mkdir()
    if tags is None:
        path.write_bytes(b"torn")
    else:
        write_raster(path, tags)
    assert kind_of(path) == kind
    assert (path in scene_rasters(Results(tmp_path))) is (kind == "scene")
    if kind == "classes":
        assert [of.mask for of in city_rasters(Results(tmp_path))] == [path]


def test_the_input_path_wins_and_may_be_the_raw_folder(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    assert resolve_results(str(tmp_path), "").folder == tmp_path
    assert resolve_results(str(tmp_path / "raw"), "").folder == tmp_path
    named = resolve_results(str(tmp_path), "some_run")
    assert (named.folder, named.run_id, named.raw) == (tmp_path, "some_run", tmp_path / "raw")


def test_a_folder_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="no folder raw/ in it; give a folder of predictions, or the run_id of"
    ):
        resolve_results(str(tmp_path), "")
    with pytest.raises(InputError, match="no such folder"):
        resolve_results(str(tmp_path / "nowhere"), "")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'output' / 'mlflow.db'}")
    from builtup.runs import tracking

    tracking.setup(tmp_path)
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'output' / 'mlflow.db'}")
    return tmp_path


def test_runs_are_found_in_the_tracking_database(store: Path) -> None:
    from builtup.runs import tracking

    client = tracking.client()
    experiment = client.get_experiment_by_name("Inferences")
    assert experiment is not None
    with pytest.raises(RunError, match="no finished run"):
        resolve_results("", "")
    ids = []
    for _ in range(2):
        run = client.create_run(experiment.experiment_id)
        (store / "output/mlruns/2" / run.info.run_id / "artifacts/raw").mkdir(parents=True)
        client.set_terminated(run.info.run_id)
        ids.append(run.info.run_id)
    client.create_run(experiment.experiment_id)  # still running: not taken
    assert resolve_results("", "").run_id == ids[1]
    found = resolve_results("", ids[0])
    assert found.raw == store / "output/mlruns/2" / ids[0] / "artifacts/raw"
    assert not found.remote
    with pytest.raises(RunError, match="no such run"):
        resolve_results("", "0" * 32)
    upload_results(found)  # a local store has nothing to upload


def predicted_into(folder: Path, by: str, *, record: str | None) -> None:
    """Maps in a folder of the user's choice: rasters of run `by`, the record of run `record`."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    write_raster(folder / "raw" / "38SLF_Alpha.tif", replace(TAGS, run_id=by).as_gdal())
    InferenceRecord(run_id=record, training_run="t").write(folder)


def test_a_folder_that_another_run_took_over_does_not_stand_for_the_first(
    store: Path, tmp_path: Path
) -> None:
    from builtup.runs import tracking

    own, folder = tracking.client(), tmp_path / "maps"
    first, second = new_run(), new_run()
    for run_id in (first, second):
        own.set_tag(run_id, "predictions", str(folder))
        own.set_terminated(run_id)
    predicted_into(folder, first, record=first)
    assert resolve_results("", first).folder == folder
    predicted_into(folder, second, record=second)
    assert resolve_results("", second).folder == folder
    for path in ("", str(folder)):  # by its id, and by the folder under its id
        with pytest.raises(RunError, match=f"run_id={first}: .* holds maps of run {second}"):
            resolve_results(path, first)
    predicted_into(folder, second, record=None)  # as once, when the record named no run
    with pytest.raises(RunError, match=f"holds maps of run {second}"):
        resolve_results("", first)
    EnsembleRecord(members=()).write(folder)
    with pytest.raises(RunError, match="holds maps of an ensemble"):
        resolve_results("", first)


def test_what_a_killed_prediction_left_of_another_run_is_not_taken_for_its_own(
    store: Path, tmp_path: Path
) -> None:
    from builtup.runs import tracking

    own, folder = tracking.client(), tmp_path / "maps"
    first, killed = new_run(), new_run()
    own.set_tag(killed, "predictions", str(folder))
    predicted_into(folder, first, record=killed)
    with pytest.raises(RunError, match=f"holds maps of run {first} "):
        resolve_results("", killed)
    own.set_terminated(killed)  # gone on with in another database: the rasters keep their run
    assert resolve_results("", killed).folder == folder


@pytest.mark.parametrize("uri", ["nonsense", "ftp://a/b", "http://127.0.0.1:9"])
def test_a_tracking_address_that_does_not_answer_is_not_a_missing_run(
    store: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for run_id in ("", "0" * 32):
        with pytest.raises(RunError, match=f"MLflow at {uri} cannot be reached or opened") as e:
            resolve_results("", run_id)
        assert "\n" not in str(e.value)


def new_run() -> str:
    """The id of a run that has no artifacts yet."""
    from builtup.runs import tracking

    client = tracking.client()
    experiment = client.get_experiment_by_name("Inferences")
    assert experiment is not None
    return str(client.create_run(experiment.experiment_id).info.run_id)


def test_a_run_in_a_remote_store_is_worked_on_in_the_output_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.runs import tracking

    client = tracking.client()
    run_id = new_run()
    source = store / "made" / "raw"
    source.mkdir(parents=True)
    (source / "first.txt").write_text("made elsewhere")
    client.log_artifacts(run_id, str(source), "raw")
    monkeypatch.setattr(tracking, "artifact_folder", lambda run: None)
    results = resolve_results("", run_id)
    assert results.remote
    assert results.folder == Path("output/predictions") / run_id
    assert (results.raw / "first.txt").read_text() == "made elsewhere"
    (results.raw / "second.txt").write_text("made here")
    upload_results(results)
    kept = store / "output/mlruns/2" / run_id / "artifacts/raw"
    assert (kept / "second.txt").read_text() == "made here"


def test_a_fetch_that_was_cut_off_is_not_taken_for_complete(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.runs import tracking

    client = tracking.client()
    run_id = new_run()
    (store / "made" / "raw").mkdir(parents=True)
    for name in ("inference.json", "raw/first.txt", "raw/second.txt"):
        (store / "made" / name).write_text("whole")
    client.log_artifacts(run_id, str(store / "made"))
    monkeypatch.setattr(tracking, "artifact_folder", lambda run: None)

    def cut_off(self: object, run_id: str, name: str, folder: str) -> None:
        (Path(folder) / name).mkdir()
        (Path(folder) / name / "first.txt").write_text("who")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(client), "download_artifacts", cut_off)
        with pytest.raises(KeyboardInterrupt):
            resolve_results("", run_id)
    results = resolve_results("", run_id)
    assert {path.name for path in results.folder.iterdir()} == {"inference.json", "raw"}
    assert {path.read_text() for path in results.raw.iterdir()} == {"whole"}
    assert len(list(results.raw.iterdir())) == 2


def test_what_a_remote_store_lacks_is_said(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from builtup.runs import tracking

    run_id = new_run()
    monkeypatch.setattr(tracking, "artifact_folder", lambda run: None)
    with pytest.raises(RunError, match=r"its artifact store holds no raw; check"):
        resolve_results("", run_id)


def test_reading_tags_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys, builtup.runs.results; sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_raster_of_each_class_a_map_has_that_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_raster(tmp_path / "raw" / "roofs.tif", {"BUILTUP_KIND": "classes"})
    confident = write_raster(tmp_path / "raw" / "roofs_confidence.tif", {})
    assert city_rasters(Results(tmp_path))[0].prob == confident
    probable = write_raster(tmp_path / "raw" / "roofs_prob.tif", {})
    assert city_rasters(Results(tmp_path))[0].prob == probable
