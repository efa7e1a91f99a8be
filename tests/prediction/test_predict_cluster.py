"""A prediction on a cluster, from an object store and into it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builtup import cli
from clusters import a_cluster, a_writer_killed
from helpers import speckle, write_scene
from tiny_model import SMALL_UNET, use_store, write_trained

pytestmark = pytest.mark.timeout(180, func_only=True)  # this machine maps at leisure first
DATES = ("20150101", "20150113", "20150125")


def command(scheduler: str, **options: str) -> str:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    result = CliRunner().invoke(cli.cli, ["predict", *words, "--scheduler", scheduler])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def options(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Options for scenes in the store, which were mapped on this machine into `here`."""
    use_store(tmp_path, monkeypatch)
    options = {
        "model": str(write_trained(tmp_path / "trained", SMALL_UNET)),
        "device": "cpu",
        "adapt": "scene",
    }
    options |= {"device": "cpu", "window": "64", "overlap": "16", "num_workers": "1"}
    urls = []
    for date in DATES:
        vv, vh = speckle((200, 240), 0.1, int(date)), speckle((200, 240), 0.02, int(date) + 1)
        vv[60:120, 80:160] *= 8
        for path in write_scene(tmp_path / "test", date=date, vv=vv, vh=vh):
            key = str(path.relative_to(tmp_path))
            bucket.upload_file(str(path), key)
            urls.append(f"s3://maps/{key}")
    options["input_path"] = ";".join(urls)
    command("", output_path="here", **options)
    return options


def test_scenes_of_a_store_are_mapped_into_it_with_the_bytes_of_this_machine_though_a_worker_dies(
    bucket: Any, options: dict[str, str]
) -> None:
    # goes on with the same run, whose id the rasters bear
    bucket.upload_file("here/inference.json", "out/inference.json")
    workers = [{"env": {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}}]
    with a_cluster(*workers * 2) as cluster:
        address = cluster.scheduler_address
        with a_writer_killed(Path("output")):  # in the mirror of the store
            first = command(address, output_path="s3://maps/out", **options)
        second = command(address, output_path="s3://maps/out", **options)
    assert "predict: nothing to do, 3 scenes up to date" in second
    assert "predict: 3 scenes" in first
    made = {
        path.relative_to("here").as_posix(): path.read_bytes()
        for path in Path("here/raw").iterdir()
        if path.is_file()
    }
    kept = {
        item.key.removeprefix("out/"): item.get()["Body"].read()
        for item in bucket.objects.filter(Prefix="out/raw/")
        if ".manifest" not in item.key
    }
    assert len(made) >= 3 + 3  # probabilities, and the city's maps
    assert kept == made


def test_scales_are_predicted_and_folded_by_a_worker_to_the_bytes_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    use_store(tmp_path, monkeypatch)
    vv, vh = speckle((200, 240), 0.1, 1), speckle((200, 240), 0.02, 2)
    write_scene(tmp_path / "test", vv=vv, vh=vh)
    options = {
        "model": str(write_trained(tmp_path / "trained", SMALL_UNET)),
        **{"input_path": str(tmp_path / "test"), "device": "cpu", "adapt": "none"},
        **{"window": "64", "overlap": "16", "num_workers": "1", "fold": "mean"},
        "scales": "1/2;1;3/2",
    }
    command("", output_path="here", **options)
    (tmp_path / "there").mkdir()  # goes on with the same run, whose id the rasters bear
    (tmp_path / "there" / "inference.json").write_bytes(Path("here/inference.json").read_bytes())
    with a_cluster({}) as cluster:
        command(cluster.scheduler_address, output_path="there", **options)
    made, kept = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for part in ("raw", "levels")
            for path in Path(folder, part).rglob("*.tif")
        }
        for folder in ("here", "there")
    )
    assert {name.split("/")[1] for name in made if name.startswith("levels")} == {"0.5", "1", "1.5"}
    assert kept == made
