"""What earlier calls left in the folder is in no city's mean without a word."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import rasterio

from builtup.errors import InputError, OutputError
from builtup.jobs.steps import Summary
from helpers import TRANSFORM, speckle, write_scene
from tiny_model import SINGLE_PIXELS, map_scenes, use_store, write_trained

SIZE = (70, 80)
FIRST, SECOND = "20150101", "20150113"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dates of Alpha, one of Beta, and a trained network."""
    root = tmp_path_factory.mktemp("earlier")
    for city, tile, date in (
        ("Alpha_2015", "38SLF", FIRST),
        ("Alpha_2015", "38SLF", SECOND),
        ("Beta_2015", "38SMB", FIRST),
    ):
        vv, vh = speckle(SIZE, 0.1, int(date)), speckle(SIZE, 0.02, int(date) + 1)
        write_scene(root / "test", city, tile, date, vv=vv, vh=vh)
    write_trained(root / "trained", SINGLE_PIXELS)
    return root


@pytest.fixture(autouse=True)
def place(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder."""
    use_store(root, monkeypatch)
    shutil.copytree(root / "test", tmp_path / "test")
    monkeypatch.chdir(tmp_path)


def run(root: Path, city: str, date: str = "", **options: Any) -> list[Summary]:
    inputs = Path("test", f"{city}_2015").rglob(f"*_{date}*.tif")
    return map_scenes(
        model=str(root / "trained"),
        input_path=";".join(map(str, sorted(inputs))),
        **{"output_path": "out", **options},
        window=64,
        overlap=16,
        device="cpu",
        num_workers=1,
    )


def dates_of(city: str) -> int:
    with rasterio.open(f"out/raw/{city}_count.tif") as count:
        return int(count.read(1).max())


def box(x: int, y: int) -> str:
    """`area` of 30 x 30 pixels."""
    (left, top), (right, bottom) = TRANSFORM @ (x, y), TRANSFORM @ (x + 30, y + 30)
    bounds = rasterio.warp.transform_bounds("EPSG:32638", "EPSG:4326", left, bottom, right, top)
    return ",".join(map(str, bounds))


def test_a_date_that_is_not_given_again_is_refused(root: Path) -> None:
    run(root, "Alpha")
    with pytest.raises(InputError, match=rf"not in input_path.*_{SECOND}\.tif.*add them to"):
        run(root, "Alpha", date=FIRST)
    shutil.rmtree("out")
    run(root, "Alpha", date=FIRST)
    predicted = run(root, "Alpha")[0]
    assert (predicted.done, predicted.up_to_date, dates_of("38SLF_Alpha")) == (1, 1, 2)


def test_a_date_of_another_area_is_refused_and_one_that_is_given_again_redone(root: Path) -> None:
    run(root, "Alpha", area=box(5, 5))
    with pytest.raises(InputError, match=rf"otherwise \(.*_{SECOND}\.tif, another area\)"):
        run(root, "Alpha", date=FIRST, area=box(40, 30))
    assert run(root, "Alpha", area=box(40, 30))[0].done == 2
    with rasterio.open("out/raw/38SLF_Alpha_prob.tif") as mean:
        assert (mean.read(1)[:25] == 255).all()  # nothing of the first area


def test_another_city_may_be_added_under_any_area(root: Path) -> None:
    run(root, "Alpha", area=box(5, 5))
    run(root, "Beta")
    assert Path("out/raw/38SLF_Alpha.tif").exists()
    assert Path("out/raw/38SMB_Beta.tif").exists()


def test_a_scene_that_is_skipped_stays_as_it_was_with_a_warning(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(root, "Alpha")
    bad = next(Path("test/Alpha_2015").rglob(f"*_vh_*{SECOND}.tif"))
    bad.write_bytes(bad.read_bytes()[:20_000])
    with caplog.at_level(logging.WARNING):
        predicted = run(root, "Alpha", on_error="skip")[0]
    assert len(predicted.skipped) == 1
    assert f"stay in the mean: s1a_38SLF_prob_ASC_{SECOND}.tif" in caplog.text


def test_a_raster_of_another_area_is_refused_though_its_scene_is_skipped(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from builtup.sensors.radar import source as job

    run(root, "Alpha", area=box(5, 5))
    real = job.power_within

    def opened(found: Any, *how: Any) -> Any:
        if found.scene.date == SECOND:
            raise InputError(found.scene.plain_id, "cannot be read", "mend it")
        return real(found, *how)

    monkeypatch.setattr(job, "power_within", opened)
    with pytest.raises(InputError, match=rf"_{SECOND}\.tif, without a manifest"):
        run(root, "Alpha", area=box(40, 30), on_error="skip")


def test_a_folder_of_too_long_a_name_is_one_line(root: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written \(File name too long\)"):
        run(root, "Beta", output_path="o" * 300)
