"""A sensor says which of its bands are read."""

from __future__ import annotations

from dataclasses import replace

from builtup.sensors.radar.sentinel1 import SENTINEL1


def test_the_bands_that_are_read_have_their_names_by_number() -> None:
    assert SENTINEL1.names == ("VH", "VV")
    assert replace(SENTINEL1, read=(3, 1)).names == ("mean", "VH")
