"""A prediction, killed at random moments and run again, leaves the same bytes."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from forks import processes_with
from helpers import speckle, write_scene
from tiny_model import SMALL_UNET, map_scenes, use_store, write_trained

KILLS = 6
SIZE = 400


def outputs(folder: Path) -> dict[str, bytes]:
    """All files but manifests and records of the data, which hold times."""
    kept = [p for p in folder.rglob("*") if p.is_file() and p.parent.name != ".manifest"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in kept if "manifest" not in p.name}


def test_killed_and_run_again_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    use_store(tmp_path, monkeypatch)
    write_trained(tmp_path / "trained", SMALL_UNET)
    for date in ("20150101", "20150113"):
        vv, vh = speckle((SIZE, SIZE), 0.1, int(date)), speckle((SIZE, SIZE), 0.02, int(date) + 1)
        vv[100:200, 100:250] *= 8
        write_scene(tmp_path / "test", date=date, vv=vv, vh=vh)
    options: dict[str, Any] = {
        "model": str(tmp_path / "trained"),
        "input_path": str(tmp_path / "test"),
        "adapt": "scene",
        "window": 64,
        "overlap": 16,
        "num_workers": 1,
        "device": "cpu",
    }
    calm, hunted = tmp_path / "calm", tmp_path / "hunted"
    map_scenes(output_path=str(calm), **options)
    expected = outputs(calm)
    hunted.mkdir()  # goes on with the same run, as after a kill
    (hunted / "inference.json").write_bytes((calm / "inference.json").read_bytes())
    hunting = {**options, "decoders": 2}  # whose processes must not outlive it
    moments, longest, hits = random.Random(0), 8.0, 0
    with processes_with("builtup.prediction.predict", "mlflow") as processes:
        for _ in range(KILLS):
            process = processes.Process(
                target=map_scenes, kwargs={"output_path": str(hunted), **hunting}
            )
            started = time.monotonic()
            process.start()
            process.join(moments.uniform(0.3, longest))
            hits += process.is_alive()
            process.kill()
            process.join()
            for name, content in outputs(hunted).items():
                assert ".partial" in name or content == expected[name]  # whole under its name
            if process.exitcode == 0:  # it had finished: strike earlier
                longest = min(longest, 0.9 * (time.monotonic() - started))
            if process.exitcode == 0 or moments.random() < 0.5:  # begin anew
                for path in hunted.rglob("*"):
                    if path.is_file() and path.name != "inference.json":
                        path.unlink()
    assert hits >= 2
    map_scenes(output_path=str(hunted), **options)
    assert outputs(hunted).keys() == expected.keys()
    assert outputs(hunted) == expected
