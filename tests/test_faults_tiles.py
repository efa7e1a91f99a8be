"""Tiling and measuring, killed at random moments and run again, give the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builtup.errors import OutputError
from tile_data import add_scene, moved

DATES = ("20150101", "20150201", "20150301")

#: A process that does its imports, says so, and works: the kill then falls into the work.
PROGRAM = """
import sys
from pathlib import Path
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats
import matplotlib.figure, pyogrio.raw, matplotlib.backends.backend_agg
root = Path(sys.argv[1])
print("ready", flush=True)
if sys.argv[2] == "tiles":
    generate_tiles(input_path=root.parent / "data/images_3b", output_path=root / "images",
                   tile_size=32, overlap=8, materialize=True, num_workers=1)
else:
    generate_tiles_stats(input_path=root, output_path=root, gap=4, num_workers=1)
print("done", flush=True)
"""


def start(root: Path, step: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), step], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(root: Path, step: str) -> float:
    """Run to the end; give the seconds of work."""
    process = start(root, step)
    started = time.monotonic()
    out, _ = process.communicate(timeout=300)
    assert out == "done\n"
    return time.monotonic() - started


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


def kill_at_random(root: Path, step: str, work: float, seed: int) -> int:
    """Start, kill after a random share of the time that the work takes; how often it was hit."""
    generator = random.Random(seed)
    hits = 0
    for _ in range(3):
        process = start(root, step)
        time.sleep(generator.uniform(0, 0.8 * work))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
    return hits


@pytest.mark.parametrize("step", ["tiles", "stats"])
def test_a_killed_step_ends_in_the_bytes_of_an_undisturbed_one(tmp_path: Path, step: str) -> None:
    for i, date in enumerate(DATES):
        add_scene(tmp_path / "data", date=date, transform=moved(i, 0))
    roots = [tmp_path / "calm", tmp_path / "stormy"]
    if step == "stats":
        for root in roots:
            _tile(tmp_path / "data", root)
    calm, stormy = roots
    work = finish(calm, step)
    assert kill_at_random(stormy, step, work, seed=7) > 0
    finish(stormy, step)
    assert _without_times(contents(stormy)) == _without_times(contents(calm))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_where_the_outputs_should_be_is_one_line(tmp_path: Path, place: str) -> None:
    from builtup.tiles.cut import generate_tiles
    from builtup.tiles.stats import generate_tiles_stats

    (tmp_path / "file").write_text("")
    add_scene(tmp_path / "data")
    images, out = tmp_path / "data" / "images_3b", tmp_path / place
    refused = pytest.raises(OutputError, match=r"cannot be written .* that is a folder")
    with refused:
        generate_tiles(
            input_path=images, output_path=out, tile_size=32, overlap=8, materialize=True
        )
    _tile(tmp_path / "data", tmp_path / "tiles")
    with refused:
        generate_tiles_stats(input_path=tmp_path / "tiles", output_path=out, gap=4)


def _tile(data: Path, root: Path) -> None:
    from builtup.tiles.cut import generate_tiles

    for source, target in (("images_3b", "images"), ("masks", "masks")):
        generate_tiles(
            input_path=data / source,
            output_path=root / target,
            tile_size=32,
            overlap=8,
            materialize=True,
            num_workers=1,
        )


def _without_times(files: dict[str, bytes]) -> dict[str, object]:
    """Manifests hold paths and mtimes of their inputs, which differ; all else counts."""
    import json

    found: dict[str, object] = {}
    for name, data in files.items():
        if ".manifest" not in name:
            found[name] = data
            continue
        manifest = json.loads(data)
        for entry in manifest["inputs"]:
            del entry["mtime"], entry["path"]
        found[name] = manifest
    return found
