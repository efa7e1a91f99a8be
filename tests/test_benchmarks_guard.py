"""The guard: what stands for what varies, and what a difference is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from helpers import write_raster

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from guard import differences, read_list  # noqa: E402
from guard_forms import Names, forms, raw_sha256  # noqa: E402

ONE, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def form(path: Path, names: Names) -> dict[str, str]:
    return dict(forms(path, names))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"run {ONE} of {OTHER[:12]}", "run <run-01> of <run-02>"),
        ("/there/a/x.tif in /there/a/b/y.tif", "<work>/x.tif in <part>/y.tif"),
        ("2 scenes, 0.3 Mpx in 1.8 s (0.1 Mpx/s)", None),
        ("commit 937d3794e814+, 2026-11-28 23:06 UTC", "commit <commit>, <time>"),
        ("tile of 20150101, F1 0.937", "tile of 20150101, F1 0.937"),
    ],
)
def test_what_varies_has_a_word_that_stands_for_it(text: str, plain: str | None) -> None:
    names = Names({"/there/a": "<work>", "/there/a/b": "<part>"}, [ONE, OTHER])
    expected = plain or "2 scenes, 0.3 Mpx in <seconds> s (<rate> Mpx/s)"
    assert names.text(text) == expected


def test_the_digest_of_a_listed_file_is_its_name(tmp_path: Path) -> None:
    path = tmp_path / "scene.json"
    path.write_text('{"mtime": 5, "of": 1}')
    names = Names(digests={raw_sha256(path): "scene.json"})
    assert names.text(f"sha256 {raw_sha256(path)}") == "sha256 <sha256 of scene.json>"
    assert '"mtime": "<mtime>"' in form(path, names)[""]


def test_a_raster_of_another_run_is_the_same_and_of_another_pixel_is_not(tmp_path: Path) -> None:
    seen = []
    for name, run_id, value in (("a", ONE, 7), ("b", OTHER, 7), ("c", ONE, 8)):
        path = write_raster(tmp_path / name / "prob.tif", np.full((8, 8), value, np.uint8))
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(BUILTUP_RUN_ID=run_id)
        seen.append(form(path, Names(run_ids=[run_id])))
    assert seen[0] == seen[1]
    assert seen[0][""] != seen[2][""]
    assert seen[0][" (bytes)"] != seen[2][" (bytes)"]


def test_a_list_is_read_and_compared(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# here\n11  a/<run-01>/x y.tif (bytes)\n22  b\n33  c\n")
    comment, before = read_list(path)
    assert comment == "# here"
    assert before["a/<run-01>/x y.tif (bytes)"] == "11"
    after = {"a/<run-01>/x y.tif (bytes)": "11", "b": "23", "d": "44"}
    assert differences(before, after) == ["gone     c", "new      d", "differs  b"]
    assert differences(before, before) == []
