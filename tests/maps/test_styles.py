from __future__ import annotations

from xml.etree import ElementTree

from builtup.maps.styles import mask_style, polygon_style


def test_the_mask_s_style_draws_its_polygons_too() -> None:
    found = []
    for style in (mask_style(), polygon_style()):
        root = ElementTree.fromstring(style.partition("\n")[2])
        found.append(ElementTree.tostring(root.find("renderer-v2")).split())  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert "<rasterrenderer" in mask_style()
    assert "<rasterrenderer" not in polygon_style()


def test_the_classes_of_the_style_cover_all_probabilities_without_a_gap() -> None:
    root = ElementTree.fromstring(polygon_style().partition("\n")[2])
    renderer = root.find("renderer-v2")
    assert renderer is not None
    assert renderer.get("attr") == "mean_prob"
    ranges = [(float(r.get("lower", "")), float(r.get("upper", ""))) for r in root.iter("range")]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 1
    assert [upper for _, upper in ranges[:-1]] == [lower for lower, _ in ranges[1:]]
    symbols = {symbol.get("name") for symbol in root.iter("symbol")}
    assert {r.get("symbol") for r in root.iter("range")} == symbols
