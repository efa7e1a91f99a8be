"""What the page shows of a city: its layers, and colours that all readers tell apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aerial_data import NAMES, add_site, camera, map_site
from builtup.maps.validate import validate
from builtup.report.view import COLOURS
from builtup.report.write import report
from builtup.sensors.classes import Classes
from helpers import CRS
from report_data import Contents, add_city


def test_image_truth_probability_errors_and_polygons_are_layers(tmp_path):
    maps = add_city(tmp_path)
    path = report(
        input_path=str(maps.folder), gt_path=str(maps.truth), images_path=str(maps.images)
    )
    page = Contents(path.read_text(encoding="utf-8"))
    shown = {a.get("class", "").split()[-1]: a for a in page.of("img") if "class" in a}
    classes = " ".join(a["class"] for a in page.of("img") + page.of("svg") if "class" in a)
    for name in ("b-image", "b-probability", "b-deviation", "ly-found", "ly-missed", "ly-false"):
        assert name in classes
    assert "ly-truth off" in classes and "ly-polygons off" in classes and shown
    missed = page.picture("ly-missed")[..., 3] > 0
    assert missed.sum() == 5 * 50 and missed[20:25, 30:80].all()
    assert page.picture("b-image")[50, 2, 3] == 0  # no data


@pytest.mark.parametrize("crs", [CRS, None])
def test_of_a_camera_image_and_classes_are_shown_in_their_own_colours(tmp_path, crs):
    mask = add_site(tmp_path, "hill", name="north", crs=crs)
    maps = map_site(tmp_path, "north", mask)
    add_site(tmp_path, "hill", name="south", seed=3, crs=crs, origin=(900.0, 900.0))

    path = report(input_path=str(maps), images_path=str(tmp_path / "images"))

    page = Contents(path.read_text(encoding="utf-8"))
    assert "radar" not in page.html.lower()
    classes, image = page.picture("b-classes"), page.picture("b-image")
    own = Classes.of(NAMES)
    shown = np.where(mask == 255, 0, mask)
    shown[:40, :40] = 0
    there = mask != 255
    np.testing.assert_array_equal(classes[there, :3], np.array(own.colours)[shown[there]])
    assert not classes[~there, 3].any() and classes[there, 3].all()
    expected = camera(mask, 0)
    assert not image[:4, :, 3].any() and image[4:, :, 3].all()  # by its alpha
    away = np.abs(image[8:, :, :3].astype(int) - np.moveaxis(expected[:3, 8:], 0, -1))
    assert away.mean() < 12  # but for the noise that WebP takes away
    assert all(name in page.text for name in NAMES)
    assert [a for a in page.of("input") if a["class"] == "sw-grey" and "checked" not in a]
    assert "Image: north." in page.text  # and not what else the site has


def test_scores_by_class_are_those_of_validate(tmp_path):
    mask = add_site(tmp_path, "hill", name="north")
    maps = map_site(tmp_path, "north", mask)
    validate(preds_path=str(maps), gt_path=tmp_path, gt_layer="masks", per_scene=True)

    path = report(input_path=str(maps), images_path=str(tmp_path / "images"))

    counted = mask != 255
    shown = mask.copy()
    shown[:40, :40] = 0
    text = Contents(path.read_text(encoding="utf-8")).text
    for number, name in enumerate(NAMES):
        one, other = shown[counted] == number, mask[counted] == number
        assert f"{name}{(one & other).sum() / (one | other).sum():.3f}" in text.replace(" ", "")
    assert "there are maps, but no scores" not in text
    assert "Mean IoU" in text and "Building IoU" in text


# Machado, Oliveira and Fernandes (2009): linear RGB as seen without one kind of cone
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colour):
    """CIE L*a*b* of linear sRGB, D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ colour / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("grey", [60, 110, 160, 210])
def test_found_missed_false_and_the_image_are_told_apart_by_all_readers(deficiency, grey):
    opacity = {"found": 0.6, "missed": 0.9, "false": 0.9}  # those of page.css
    seen = {"image": np.full(3, grey / 255)}
    for name, share in opacity.items():
        seen[name] = share * np.array(COLOURS[name]) / 255 + (1 - share) * grey / 255
    linear = {
        k: np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for k, v in seen.items()
    }
    places = {
        k: lab(np.clip(np.array(DEFICIENCIES[deficiency]) @ v, 0, 1)) for k, v in linear.items()
    }
    for one, other in itertools.combinations(places, 2):
        assert np.linalg.norm(places[one] - places[other]) > 25, (one, other)
