"""What `predict` refuses, skips or hands on: bad scenes, full disks, absent GPUs, other models."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from builtup.errors import BuiltupError, ConfigError, InputError, OutputError
from builtup.jobs import executors
from builtup.jobs.steps import Job
from predicted_project import rasters, run, write_project
from tiny_model import use_store, write_trained


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("predict"))


@pytest.fixture(autouse=True)
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    monkeypatch.chdir(root)
    return use_store(root, monkeypatch)


def test_scenes_of_another_prediction_are_not_averaged_with_ours(
    root: Path, tmp_path: Path
) -> None:
    run(root, tmp_path / "out", input_path=str(root / "test" / "Alpha_2015"))
    with pytest.raises(InputError, match="holds scenes that were predicted otherwise"):
        run(root, tmp_path / "out", input_path=str(root / "test" / "Beta_2015"), tta="d4")
    run(root, tmp_path / "out", input_path=str(root / "test" / "Beta_2015"))
    assert "38SMB_Beta.tif" in rasters(tmp_path / "out")
    assert "38SLF_Alpha.tif" in rasters(tmp_path / "out")


def test_a_scene_cut_off_stops_or_is_skipped(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "test", tmp_path / "test")
    bad = next((tmp_path / "test" / "Beta_2015").rglob("*_vh_*.tif"))
    bad.write_bytes(bad.read_bytes()[:20_000])
    options = {"input_path": str(tmp_path / "test")}
    with pytest.raises(InputError, match=bad.name):
        run(root, tmp_path / "out", **options)
    assert not list((tmp_path / "out").rglob("*.tif"))
    predicted, *_ = run(root, tmp_path / "out", on_error="skip", **options)
    assert (predicted.done, len(predicted.skipped)) == (2, 1)
    assert "38SMB_Beta.tif" not in rasters(tmp_path / "out")


def test_a_scene_that_vanishes_half_way_leaves_nothing_of_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(root / "test" / "Beta_2015", tmp_path / "Beta_2015")
    (vv,) = (tmp_path / "Beta_2015").rglob("*_vv_*.tif")
    from builtup.prediction import raster as job

    real = job.predict_stream

    def cut_then_predict(*arguments: Any, **options: Any) -> int:
        vv.write_bytes(vv.read_bytes()[:20_000])
        return real(*arguments, **options)

    monkeypatch.setattr(job, "predict_stream", cut_then_predict)
    with pytest.raises(InputError, match=f"{vv.name}: cannot be read to its end"):
        run(root, tmp_path / "out", input_path=str(tmp_path / "Beta_2015"))
    assert not [p for p in (tmp_path / "out" / "raw").rglob("*") if p.is_file()]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stands for a full disk: the write fails in the same way."""
    from builtup.prediction import raster as job

    real, limits = job.create_cog, resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def on_full_disk(*arguments: Any, **options: Any) -> Iterator[Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limits[1]))
        try:
            with real(*arguments, **options) as out:
                yield out
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(job, "create_cog", on_full_disk)
    with pytest.raises(OutputError, match="cannot be written"):
        run(root, tmp_path / "out")
    assert not [p for p in (tmp_path / "out" / "raw").rglob("*") if p.is_file()]


def test_a_scene_that_the_device_does_not_hold_is_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.prediction import raster as job

    def full(*arguments: Any, **options: Any) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(job, "predict_stream", full)
    with pytest.raises(BuiltupError, match=r"^s1a_38SLF.*: out of memory .* use a smaller window"):
        run(root, tmp_path / "out")


class Elsewhere:
    """A cluster that is handed jobs and does none of them."""

    remote = True

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, name: str, call: Any, jobs: Sequence[Job]) -> Iterator[Any]:
        self.jobs += jobs
        yield jobs[0], {}, BuiltupError("not done")


@pytest.mark.parametrize(
    ("device", "resources"), [("cuda", {"GPU": 1}), ("cuda:1", {"GPU": 1}), ("auto", {})]
)
def test_a_machine_without_a_gpu_hands_jobs_to_workers_that_have_one(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    resources: dict[str, int],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cluster = Elsewhere()
    with executors.using(cluster), pytest.raises(BuiltupError, match="not done"):
        run(root, tmp_path / "out", device=device, backend="auto")
    assert len(cluster.jobs) == 3
    for job in cluster.jobs:
        assert job.resources == resources
        assert (job.context.recipe.device, job.context.recipe.backend) == (device, "torch")
    with executors.using(cluster), pytest.raises(ConfigError, match="no such device"):
        run(root, tmp_path / "no", device="gpu")


def test_a_gpu_that_is_not_here_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this machine has no CUDA"):
        run(root, tmp_path / "out", device="cuda")
    with executors.using(Elsewhere()), pytest.raises(ConfigError, match="runs on the CPU"):
        run(root, tmp_path / "out", device="cuda", backend="openvino")


def test_a_model_of_other_bands_is_refused_before_anything_is_written(
    root: Path, tmp_path: Path
) -> None:
    write_trained(tmp_path / "other", "torch.nn.Conv2d(4, 2, 1)")
    with pytest.raises(BuiltupError, match="takes 4 bands, not VH and VV"):
        run(root, tmp_path / "out", model=str(tmp_path / "other"))
    assert not (tmp_path / "out").exists()
