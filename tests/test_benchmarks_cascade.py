"""The benchmark of several scales runs, and says what misses a bar."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from helpers import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import cascade


def test_it_measures_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "code"))
    monkeypatch.setattr(cascade, "CUTS", (("vote", 2),))
    monkeypatch.setattr(cascade, "MOST_MB", 1.0)
    root = tmp_path / "bench"
    sizes = ["--small", "600", "--large", "600", "--runs", "1", "--only", "memory"]
    status = cascade.main([*sizes, "--root", str(root)])
    out, err = capsys.readouterr()
    (row,) = json.loads(out.splitlines()[-1])["memory"]
    assert row["what"] == "vote, stride 2" and len(row["memory_mb"]) == 2
    assert status == 1 and "MB, more than 1" in err
    assert not root.exists()


def test_each_way_has_its_speed_and_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "code"))
    monkeypatch.setattr(cascade, "WAYS", {"fitted logits": ("logits", 2)})
    sizes = ["--small", "600", "--large", "600", "--runs", "1", "--only", "ways"]
    assert cascade.main([*sizes, "--network", "small", "--root", str(tmp_path / "bench")]) == 0
    (row,) = json.loads(capsys.readouterr().out.splitlines()[-1])["ways"]
    assert row["what"] == "fitted logits" and row["mpx_per_second"] > 0 and row["memory_mb"] > 0
