"""Radar scenes as `predict` takes them: whatever their files are, linear power of VH and VV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError
from builtup.geo.locations import Allow
from builtup.geo.windows import Window
from builtup.sensors.radar.discovery import Discovery, find_scenes
from builtup.sensors.radar.headers import SceneHeaders, read_each
from builtup.sensors.radar.reader import cache_bytes, power_within
from builtup.sensors.radar.scenes import Scene
from builtup.sensors.radar.units import judge_units, parse_units

__all__ = ["RadarSource"]


@dataclass(frozen=True)
class RadarSource:
    """How radar scenes are found, judged and read: `builtup.sensors.source.SceneSource`.

    `units` are those that the user says. Raises ConfigError for unknown ones.
    """

    units: str = "auto"

    def __post_init__(self) -> None:
        parse_units(self.units)

    @property
    def settings(self) -> Mapping[str, str]:
        """What power depends on besides the files."""
        return {"units": parse_units(self.units)}

    def find(self, input_path: str, allow: Allow) -> Discovery:
        """See `find_scenes`."""
        return find_scenes(input_path, allow)

    def read_each(self, scenes: Sequence[Scene]) -> Iterator[SceneHeaders | BuiltupError]:
        """See `read_each` of the headers; VH may lie on another grid than VV."""
        return read_each(scenes)

    def judged(self, headers: SceneHeaders) -> SceneHeaders:
        """The headers with units, by their values where nothing says them."""
        return judge_units(headers, parse_units(self.units))

    def cache_bytes(self, headers: SceneHeaders, rows: int) -> int:
        """See `cache_bytes` of the reader."""
        return cache_bytes(headers, rows)

    def within(
        self, headers: SceneHeaders, area: str, cache: int
    ) -> AbstractContextManager[Callable[[Window], NDArray[np.float32]]]:
        """See `power_within`."""
        return power_within(headers, area, cache)
