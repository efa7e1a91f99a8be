"""Members of an ensemble: images without a CRS go together by their pixels, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from builtup.errors import GridError, InputError
from builtup.geo.probability import NODATA
from builtup.maps.ensemble import ensemble
from builtup.maps.ensemble_members import check_alike, read_member, shared_scenes
from builtup.runs.results import PredictionTags, read_tags, write_tags
from helpers import write_raster

NAMES = ("ground", "building", "tree")


def write_image(
    root: Path,
    levels: NDArray[np.uint8],
    names: tuple[str, ...] = NAMES,
    presence: float | None = None,
    pixel: float | None = None,
) -> Path:
    """The probabilities of an image, as `predict` keeps them."""
    path = root / "raw" / "yard_prob.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = levels.shape
    tags = PredictionTags(
        "yard_{}", "yard", width, height, root.name, 0.5, names, sensor="rgb", presence=presence
    ).of_kind("scene")
    profile = {"count": bands, "width": width, "height": height, "dtype": "uint8"}
    if pixel is not None:
        profile |= {"transform": rasterio.Affine(pixel, 0, 0, 0, -pixel, 0)}
    with rasterio.open(path, "w", driver="GTiff", nodata=NODATA, **profile) as out:
        out.write(levels)
        write_tags(out, tags)
    return root


def levels(*pixels: tuple[int, ...]) -> NDArray[np.uint8]:
    """(bands, 1, pixels)."""
    return np.array(pixels, np.uint8).T[:, None]


def test_members_of_one_image_share_it(tmp_path: Path) -> None:
    runs = [write_image(tmp_path / name, levels((200, 54, 0))) for name in "ab"]
    members = [read_member(str(run)) for run in runs]
    check_alike(members)
    (scene,) = shared_scenes(members)
    assert scene.tags.scene == "yard_{}" and [p.parents[1] for p in scene.rasters] == runs


@pytest.mark.parametrize(
    ("other", "options", "kind", "message"),
    [
        (levels((200, 54)), {"names": NAMES[:2]}, InputError, "classes ground, building"),
        (levels((9, 9, 9), (9, 9, 9)), {}, GridError, "sizes 1x1 and 2x1 pixels"),
        (levels((9, 9, 9)), {"pixel": 0.5}, GridError, "grids up to"),
    ],
)
def test_other_classes_sizes_and_pixels_are_refused_in_one_line(
    tmp_path: Path,
    other: NDArray[np.uint8],
    options: dict[str, object],
    kind: type[Exception],
    message: str,
) -> None:
    one = write_image(tmp_path / "a", levels((9, 9, 9)))
    two = write_image(tmp_path / "b", other, **options)  # type: ignore[arg-type]
    with pytest.raises(kind, match=message) as e:
        ensemble(input_paths=f"{one};{two}", output_path=tmp_path / "mean", num_workers=1)
    assert "\n" not in str(e.value) and not (tmp_path / "mean").exists()


def test_the_mean_of_images_is_a_map_of_classes_and_of_presence(tmp_path: Path) -> None:
    one = write_image(tmp_path / "a", levels((200, 54, 0), (100, 50, 104)), presence=0.8)
    two = write_image(tmp_path / "b", levels((10, 240, 4), (100, 50, 104)), presence=0.4)
    out = tmp_path / "mean"
    ensemble(input_paths=f"{one};{two}", output_path=out, num_workers=1)
    with rasterio.open(out / "raw" / "yard_prob.tif") as found:
        assert found.read()[:, 0].T.tolist() == [[105, 147, 2], [100, 50, 104]]
    assert read_tags(out / "raw" / "yard_prob.tif").presence == pytest.approx(0.6)
    with rasterio.open(out / "raw" / "yard.tif") as found:
        assert found.read(1).tolist() == [[1, 2]] and found.tags()["BUILTUP_KIND"] == "classes"
    with rasterio.open(out / "raw" / "yard_confidence.tif") as found:
        assert found.read(1).tolist() == [[147, 104]]


def test_weights_and_threshold_are_fitted_on_masks(tmp_path: Path) -> None:
    right, wrong = (200, 30, 200, 30), (30, 200, 30, 200)
    names = NAMES[:2]
    one = write_image(tmp_path / "a", np.array([[right]], np.uint8), names)
    two = write_image(tmp_path / "b", np.array([[wrong]], np.uint8), names)
    mask = np.array([[1, 0, 1, 255]], np.uint8)
    write_raster(tmp_path / "masks" / "yard" / "yard_mask.tif", mask, None, None, nodata=255)
    ensemble(
        input_paths=f"{one};{two}", output_path=tmp_path / "mean", weights="fit", threshold="fit",
        gt_path=str(tmp_path / "masks"), num_workers=1,
    )  # fmt: skip
    with rasterio.open(tmp_path / "mean" / "raw" / "yard_prob.tif") as found:
        assert found.read(1).tolist() == [list(right)]
    assert 30 / 254 < read_tags(tmp_path / "mean" / "raw" / "yard_prob.tif").threshold <= 200 / 254


@pytest.mark.parametrize("how", [{"weights": "fit"}, {"threshold": "fit"}])
def test_masks_of_scenes_that_nobody_predicted_are_refused(
    tmp_path: Path, how: dict[str, str]
) -> None:
    runs = [write_image(tmp_path / name, levels((9, 9)), NAMES[:2]) for name in "ab"]
    mask = np.ones((1, 1), np.uint8)
    write_raster(tmp_path / "masks" / "park" / "park_mask.tif", mask, None, None, nodata=255)
    with pytest.raises(InputError, match=r"\(yard\); predict the scenes of its polygons or") as e:
        ensemble(
            input_paths=f"{runs[0]};{runs[1]}", output_path=tmp_path / "mean",
            gt_path=str(tmp_path / "masks"), num_workers=1, **how,
        )  # fmt: skip
    assert "\n" not in str(e.value) and not (tmp_path / "mean").exists()


def test_a_run_that_is_left_out_has_no_part_in_the_presence(tmp_path: Path) -> None:
    said = {"a": (200, 0.8), "blank": (0, 0.1), "c": (200, 0.6)}
    runs = [
        write_image(tmp_path / name, np.full((1, 1, 1), level, np.uint8), NAMES[:2], presence)
        for name, (level, presence) in said.items()
    ]
    out = tmp_path / "mean"
    ensemble(input_paths=";".join(map(str, runs)), output_path=out, drop_blank=True, num_workers=1)
    tags = read_tags(out / "raw" / "yard_prob.tif")
    assert tags.presence == pytest.approx(0.7) and str(runs[1]) not in tags.run_id


def test_images_whose_probabilities_were_not_kept_are_to_be_predicted_again(
    tmp_path: Path,
) -> None:
    run = write_image(tmp_path / "a", np.ones((1, 1, 1), np.uint8), NAMES[:2])
    path = run / "raw" / "yard_prob.tif"
    tags = read_tags(path).of_kind("classes")
    with rasterio.open(path.rename(run / "raw" / "yard.tif"), "r+") as dataset:
        write_tags(dataset, tags)
    with pytest.raises(InputError, match="predict the images again with probabilities=true"):
        read_member(str(run))
