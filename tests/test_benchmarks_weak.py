"""The tables of the ladder of weak labels, and the pieces that the radar's are learnt on."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import weak
import weak_radar

from builtup.geo.windows import Window


def scored(miou: float) -> dict[str, float]:
    return {"miou": miou, "class/building/iou": 2 * miou}


TABLE = {
    "B1": {0: scored(0.2), 1: scored(0.4)},
    "M4": {0: scored(0.3), 1: scored(0.35)},
    "upper bound": {0: scored(0.4), 1: scored(0.4)},
}


def test_the_gap_is_that_of_each_seed() -> None:
    # (.3 − .2) / (.4 − .2); the second seed has no gap
    assert weak.gaps(TABLE, "M4", "miou") == "+50 %, –"
    assert weak.gaps(TABLE, "B1", "miou") == "–"
    assert weak.gaps({"M4": TABLE["M4"]}, "M4", "miou") == "–"


def test_a_row_is_the_mean_over_seeds_and_its_spread() -> None:
    figures = {"mIoU": "miou", "building IoU": "class/building/iou", "car IoU": "class/car/iou"}
    rows = weak.rows_of(TABLE, figures)
    assert rows[0] == ["", "mIoU", "building IoU", "car IoU", "of the gap in mIoU, by seed"]
    assert rows[1] == ["B1", ".300 ± .141", ".600 ± .283", "–", "–"]


def test_labels_are_told_stage_by_stage() -> None:
    one = {"labelled": 1.0, "macro_iou": 0.5, "accuracy": 0.75, "iou": 0.25}
    rows = weak.label_rows([{"raw": one, "tags": one, "kept": {**one, "labelled": 0.5}}])
    assert rows[1] == ["as the map decides", "1.000", ".500", ".750", ".250"]
    assert rows[3][:2] == ["and .9 sure", ".500"]


def test_a_row_that_learns_from_maps_depends_on_their_network() -> None:
    ground = weak.Ground(*(Path(name) for name in ("weak", "upper", "tagged", "scored")))
    records = weak.Records(Path("none.json"))
    one, other = (weak.Learner(ground, seed, "", records, Path()) for seed in (0, 1))
    assert weak.ROWS["M1"].settings in one.key("M3") and one.key("M1") in one.key("M3")
    assert one.key("M3") != other.key("M3")


def test_places_are_ranked_each_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(built: int, bare: int) -> dict[str, Any]:
        histogram = np.zeros((2, 255), np.int64)
        histogram[1, built], histogram[0, bare] = 10, 10
        return {"matrix": [[10, 0], [0, 10]], "histogram": histogram.tolist()}

    # each tells its own ground apart, but what one calls bare is more than the other's town
    made = {"north": counted(100, 50), "south": counted(200, 150)}
    places = [
        SimpleNamespace(folder=tmp_path, target=SimpleNamespace(name=name), key=lambda *_: "")
        for name in made
    ]
    monkeypatch.setitem(weak_radar.GROUNDS, "radar", lambda *_: places)
    found = iter(made.values())
    records: Any = lambda *_: next(found)  # noqa: E731
    text = weak_radar.radar_tables("radar", [0], ["B1"], "", records, tmp_path)
    assert [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")] == [
        "B1", "1.000", "1.000", "1.000", "1.000", "1.000", "–",
    ]  # fmt: skip


def test_a_row_has_the_length_that_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ground = weak.Ground(*(Path(name) for name in ("weak", "upper", "tagged", "scored")))
    found: list[str] = []
    monkeypatch.setattr(weak, "train", lambda _, settings: found.append(settings) or _Run())
    learner = weak.Learner(
        ground, 0, "num_epochs=1", weak.Records(tmp_path / "runs.json"), tmp_path
    )
    assert learner.network("CAM, tags alone") == "run"
    # what stands later counts
    assert found[0].index("samples_per_epoch=480") > found[0].index("samples_per_epoch=800")
    assert found[0].index("num_epochs=1 ") > found[0].index("num_epochs=10")


class _Run:
    run_id = "run"


def test_what_is_kept_is_of_configs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = weak.Ground(*(Path(name) for name in ("weak", "upper", "tagged", "scored")))
    learner = weak.Learner(ground, 0, "", weak.Records(Path("none.json")), Path())
    before = learner.key("B1")
    monkeypatch.setattr(weak, "WEAK_FINE", "configs/train/demo.py")  # as another content
    assert learner.key("B1") != before


@pytest.mark.parametrize("known", [weak.ROWS, weak_radar.STEPS])
def test_an_unknown_row_ends_the_script(known: dict[str, object]) -> None:
    with pytest.raises(SystemExit, match="M9: unknown; known are B1, upper bound"):
        weak.chosen(known, ["M9"])
    assert list(weak.chosen(known, ["M4"])) == ["M4"]


@pytest.mark.parametrize("block", range(4))
def test_no_piece_is_near_the_block_that_is_left_out(block: int) -> None:
    found = weak_radar.pieces(block)
    row, column = divmod(block, 2)
    top, left = row * weak_radar.ROW, column * weak_radar.COLUMN
    below, right = (900, 512) if row else (weak_radar.ROW, 512)
    right = 512 if column else weak_radar.COLUMN
    near = Window(top - 32, left - 32, below - top + 64, right - left + 64)
    assert len(found) == len(set(found)) > 20
    assert all(near.intersection(window) is None for window in found)
    assert all(window.y + 64 <= 900 and window.x + 64 <= 512 for window in found)


def test_wrong_tags_are_those_of_one_another(tmp_path: Path) -> None:
    rows = [f"town_{n},{32 * n},0,32,32,tile_{n},{1 - n / 10:g},{n / 10:g}" for n in range(10)]
    path = tmp_path / "tags.csv"
    path.write_text("\n".join(["scene,x,y,width,height,tile_id,background,building", *rows]))
    lines = weak_radar.wrong_tags(path, 0.3, 0).splitlines()
    assert lines[0] == "scene,x,y,background,building"
    tags = [float(line.split(",")[-1]) for line in lines[1:]]
    changed = [n for n, tag in enumerate(tags) if tag != n / 10]
    assert len(changed) == 3 and sorted(tags) == [n / 10 for n in range(10)]
    assert [line.split(",")[:3] for line in lines[1:]] == [row.split(",")[:3] for row in rows]
