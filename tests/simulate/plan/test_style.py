"""Kinds of cities: plain draws nothing, wide draws widely, a shift goes beyond."""

from __future__ import annotations

import pytest

from builtup.simulate.plan.landcover import CROPS, OTHER_CROPS
from builtup.simulate.plan.noise import stream
from builtup.simulate.plan.streets import KINDS
from builtup.simulate.plan.style import SHIFTS, VARIETIES, Style, draw_style


def test_plain_cities_are_of_one_style() -> None:
    assert all(draw_style(stream(n), "plain", "", n) == Style() for n in range(5))


def test_wide_cities_differ_and_name_what_exists() -> None:
    styles = [draw_style(stream(n), "wide", "", n) for n in range(40)]
    assert len({style.towns.radius for style in styles}) == 40
    assert {style.land.coast for style in styles} == {True, False}
    assert {style.towns.rows for style in styles} > {0.0}
    for style in styles:
        assert set(style.land.crops) <= set(CROPS + OTHER_CROPS)
        assert {*style.towns.kinds, *style.towns.kinds.values()} <= set(KINDS)
        assert style.towns.radius[1] < 0.6
        assert sum(style.land.crops.values()) > 0


@pytest.mark.parametrize("variety", VARIETIES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_changes_its_own_part_alone(variety: str, shift: str) -> None:
    for number in range(6):
        base = draw_style(stream(number), variety, "", number)
        moved = draw_style(stream(number), variety, shift, number)
        assert (moved.towns != base.towns) == (shift == "style")
        assert (moved.land != base.land) == (shift == "climate")
