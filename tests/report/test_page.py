"""The page in a browser: it loads, its switches switch, it fits a phone and a sheet of paper."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browsers import headless
from builtup.report.write import report
from report_data import MISSED, SHAPE, add_city, probability

LAYERS = ("found", "missed", "false", "truth", "unknown", "polygons", "tiles")
PHONE = {"width": 360, "height": 700}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two cities, one with a name that would like to be a script."""
    root = tmp_path_factory.mktemp("page")
    add_city(root)
    maps = add_city(root, "38SLG", '<script>alert("x")<', probability(seed=3))
    path = report(
        input_path=str(maps.folder), gt_path=str(maps.truth), images_path=str(maps.images)
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with headless() as found:
        yield found


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with browser.new_page(viewport={"width": 1200, "height": 900}) as opened:
        opened.goto(address)
        yield opened


def pixels(page: Any) -> np.ndarray:
    """The first map as it is seen."""
    shot = page.locator(".mapbox").first.screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that look different: more than a shift of a part of a pixel would."""
    return float((np.abs(one - other).max(axis=-1) > 32).mean())


def shown(page: Any, selector: str) -> bool:
    return bool(page.locator(selector).first.is_visible())


def test_it_loads_without_errors_and_fetches_nothing(browser, address):
    with browser.new_page() as page:
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [address]
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).length")
        assert broken == 0
        assert page.locator("h1").is_visible()


@pytest.mark.parametrize("name", LAYERS)
def test_a_switch_shows_and_hides_its_layer(page, name):
    switch = page.locator(f".sw-{name}").first
    before, was = pixels(page), switch.is_checked()
    assert shown(page, f".ly-{name}") == was
    switch.set_checked(not was)
    assert shown(page, f".ly-{name}") != was
    assert changed(pixels(page), before) > 0.002
    switch.set_checked(was)
    assert changed(pixels(page), before) < 0.0005
    assert page.locator(f".ly-{name}").nth(1).is_visible() == was  # the other city is untouched


def test_polygons_are_lines_that_stay_thin(page):
    before = pixels(page)
    page.locator(".sw-polygons").first.check()
    assert 0.002 < changed(pixels(page), before) < 0.05
    page.locator(".z-4").first.check()
    enlarged = pixels(page)
    page.locator(".sw-polygons").first.uncheck()
    assert changed(pixels(page), enlarged) < 0.05


def test_missed_buildings_are_amber_where_they_are(page):
    image = pixels(page)
    row, column = (
        int((part.start + part.stop) / 2 / size * length)
        for part, size, length in zip(MISSED, SHAPE, image.shape[:2], strict=True)
    )
    red, green, blue = image[row, column]
    assert red > 200 and 120 < green < 200 and blue < 80


def test_one_image_at_a_time(page):
    seen = []
    for name in ("image", "probability", "deviation"):
        page.locator(f".sw-b-{name}").first.check()
        visible = [n for n in ("image", "probability", "deviation") if shown(page, f".b-{n}")]
        assert visible == [name]
        assert shown(page, f".cap-{name}")
        seen.append(pixels(page))
    assert changed(seen[0], seen[1]) > 0.3 and changed(seen[1], seen[2]) > 0.3
    page.locator(".sw-b-image").first.check()
    grey = pixels(page)
    page.locator(".sw-grey").first.uncheck()
    assert changed(pixels(page), grey) > 0.01


def test_the_keyboard_is_enough(page):
    page.locator(".sw-missed").first.focus()
    page.keyboard.press("Space")
    assert not shown(page, ".ly-missed")
    page.locator(".sw-b-image").first.focus()
    page.keyboard.press("ArrowDown")
    assert shown(page, ".b-probability")
    page.locator(".z-1").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".z-2").first.is_checked()
    page.locator(".frame").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.frame').scrollLeft > 0")


def test_the_slider_sets_the_opacity(page):
    layer = page.locator(".ly-missed").first
    before = pixels(page)
    page.locator(".opacity").first.fill("20")
    assert float(layer.evaluate("e => getComputedStyle(e).opacity")) == pytest.approx(0.2)
    assert changed(pixels(page), before) > 0.002


@pytest.mark.parametrize("zoom", [1, 2, 4])
def test_the_scale_bar_is_as_long_as_it_says(page, zoom):
    page.locator(f".z-{zoom}").first.check()
    bar = page.locator(f".s-{zoom}").first
    assert [shown(page, f".s-{z}") for z in (1, 2, 4)] == [z == zoom for z in (1, 2, 4)]
    number, unit = re.fullmatch(r"([\d.]+) (k?m)", bar.inner_text().strip()).groups()
    metres = float(number) * (1000 if unit == "km" else 1)
    length = bar.locator("i").bounding_box()["width"]
    width = page.locator(".stack").first.bounding_box()["width"]
    assert length / width * SHAPE[1] * 10 == pytest.approx(metres, rel=0.02)


def test_an_enlarged_map_keeps_its_middle_and_can_be_dragged(page):
    frame = page.locator(".frame").first
    page.locator(".z-4").first.check()
    left = frame.evaluate("e => e.scrollLeft")
    middle = frame.evaluate("e => (e.scrollLeft + e.clientWidth / 2) / e.scrollWidth")
    assert middle == pytest.approx(0.5, abs=0.02)
    box = frame.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y)
    page.mouse.up()
    assert frame.evaluate("e => e.scrollLeft") == pytest.approx(left + 60, abs=2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_hangs_over_the_edge_of_a_phone(browser, address, scheme):
    options = {"viewport": PHONE, "is_mobile": True, "has_touch": True, "color_scheme": scheme}
    with browser.new_page(**options) as page:
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.evaluate("innerWidth") == PHONE["width"]
        red, green, blue = map(
            int,
            re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor")),
        )
        assert (red + green + blue < 150) == (scheme == "dark")
        tables = page.evaluate(
            "[...document.querySelectorAll('.scroll')].map(t => [t.scrollWidth, t.clientWidth])"
        )
        assert len(tables) == 2  # scores, what is mapped
        assert all(wide > 1.5 * shown for wide, shown in tables)  # scrolled, not squeezed


def test_without_script_the_map_shows_and_switches(browser, address):
    with browser.new_context(java_script_enabled=False) as context, context.new_page() as page:
        page.goto(address)
        assert shown(page, ".b-image") and shown(page, ".ly-missed") and shown(page, ".ly-false")
        assert not shown(page, ".b-probability") and not shown(page, ".ly-truth")
        assert not shown(page, ".opacity")
        page.locator(".sw-missed").first.uncheck()
        assert not shown(page, ".ly-missed")


def test_print_shows_the_chosen_layers_and_no_controls(page):
    page.locator(".sw-polygons").first.check()
    page.locator(".sw-found").first.uncheck()
    page.locator(".z-4").first.check()
    page.emulate_media(media="print")
    assert shown(page, ".ly-polygons") and shown(page, ".ly-missed")
    assert not shown(page, ".ly-found") and not shown(page, ".panel input")
    labels = page.locator(".panel").first.inner_text()
    assert "Polygons" in labels and "Missed" in labels and "Found" not in labels
    stack, frame = (page.locator(f".{n}").first.bounding_box() for n in ("stack", "frame"))
    assert stack["width"] == pytest.approx(frame["width"], abs=2)  # whole again
    assert shown(page, ".s-1")
    assert len(page.pdf(format="A4")) > 10_000
