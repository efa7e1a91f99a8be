from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import colormaps

from builtup.maps.styles import (
    class_polygon_style,
    class_style,
    mask_style,
    polygon_style,
    probability_style,
    viridis,
)
from builtup.sensors.classes import Classes


def test_the_mask_s_style_draws_its_polygons_too() -> None:
    found = []
    for style in (mask_style(0.4), polygon_style(0.4)):
        root = ElementTree.fromstring(style.partition("\n")[2])
        found.append(ElementTree.tostring(root.find("renderer-v2")).split())  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert "<rasterrenderer" in mask_style(0.4)
    assert "<rasterrenderer" not in polygon_style(0.4)


def test_the_classes_of_the_style_cover_all_probabilities_without_a_gap() -> None:
    root = ElementTree.fromstring(polygon_style(0.4).partition("\n")[2])
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "mean_prob"
    ranges = [(float(r.get("lower", "")), float(r.get("upper", ""))) for r in root.iter("range")]
    assert ranges[0] == (0, 0.55)
    assert ranges[-1][1] == 1
    assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
    symbols = {symbol.get("name") for symbol in root.iter("symbol")}
    assert {r.get("symbol") for r in root.iter("range")} == symbols


@pytest.mark.parametrize("threshold", [0.05, 0.43, 0.97])
def test_what_is_far_below_the_threshold_is_transparent(threshold: float) -> None:
    root = ElementTree.fromstring(probability_style(1, threshold).partition("\n")[2])
    items = [(float(i.get("value", "")), int(i.get("alpha", ""))) for i in root.iter("item")]
    values = [value for value, _ in items]
    assert values == sorted(values) and (values[0], values[-1]) == (0, 1)
    assert [alpha for value, alpha in items if value <= threshold / 2 + 1e-6] == [0, 0]
    assert min(alpha for value, alpha in items if value >= threshold - 1e-6) >= 100


def test_the_mask_lets_an_image_below_show() -> None:
    root = ElementTree.fromstring(mask_style(0.4).partition("\n")[2])
    assert [int(e.get("alpha", "")) for e in root.iter("paletteEntry")] == [0, 150]


def test_viridis_is_that_of_matplotlib() -> None:
    values = np.linspace(-0.2, 1.2, 300).reshape(20, 15)
    expected = np.asarray(colormaps["viridis"](np.clip(values, 0, 1), bytes=True))[..., :3]
    assert np.abs(viridis(values).astype(int) - expected.astype(int)).max() <= 5


def test_polygons_of_several_classes_have_the_colours_of_the_map() -> None:
    classes = Classes.of(("ground", "building", "a < b"))
    map_style = class_style(classes, polygons_by_class=True)
    for style in (class_polygon_style(classes), map_style):
        root = ElementTree.fromstring(style.partition("\n")[2])
        assert [c.get("value") for c in root.iter("category")] == list(classes.names)
        fills = [
            option.get("value") for option in root.iter("Option") if option.get("name") == "color"
        ]
        assert fills == [f"{r},{g},{b},120" for r, g, b in classes.colours]
    root = ElementTree.fromstring(map_style.partition("\n")[2])
    shown = [e.get("color") for e in root.iter("paletteEntry")]
    assert shown == [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in classes.colours]
