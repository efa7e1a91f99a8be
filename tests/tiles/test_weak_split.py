"""Which scenes are N1, N2 and validation."""

from __future__ import annotations

import pytest

from builtup.errors import InputError
from builtup.tiles.weak_split import N1, N2, UNLABELLED, VALIDATION, percentages, split_scenes

NAMES = [f"area{i}" for i in range(30)]


def of(shares, seed=0, names=NAMES):
    return split_scenes({name: name for name in names}, set(names), percentages(shares), seed)


def scenes(roles, role):
    return {scene for scene, own in roles.items() if own == role}


def test_ten_seventy_twenty_of_thirty():
    roles = of("10;70;20")
    assert [len(scenes(roles, role)) for role in (N1, N2, VALIDATION)] == [3, 21, 6]
    assert of("10;70;20", names=NAMES[::-1]) == roles
    assert of("10;70;20", seed=1) != roles


def test_validation_is_the_same_whatever_n1_and_n2_are():
    few, upper = of("10;70;20"), of("80;0;20")
    assert scenes(few, VALIDATION) == scenes(upper, VALIDATION)
    assert scenes(few, N1) < scenes(upper, N1)
    assert scenes(of("10;0;20"), UNLABELLED) == scenes(few, N2)


def test_dates_of_a_site_have_one_role_and_ground_without_masks_is_n2():
    ground = {f"{site}{date}": site for site in "abcd" for date in "12"}
    roles = split_scenes(ground, {s for s in ground if s[0] != "d"}, (34, 33, 33), 0)
    assert all(roles[f"{site}1"] == roles[f"{site}2"] for site in "abcd")
    assert roles["d1"] == N2


def test_one_scene_is_too_few():
    with pytest.raises(InputError, match="N1 or validation is empty"):
        of("10;70;20", names=["a"])
