"""What `predict` asks of a sensor: which scenes an input holds, what they are, and their pixels.

Each sensor's room has a class of this form, whose values are what the user and the network ask of
scenes; `builtup.prediction` knows no more of them than what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from builtup.errors import BuiltupError
from builtup.geo.grid import Grid
from builtup.geo.locations import Allow, Location
from builtup.geo.windows import Window
from builtup.sensors.remarks import Remark

__all__ = ["Found", "Headers", "Scene", "SceneSource"]


class Scene(Protocol):
    """One image of one place."""

    @property
    def scene_id(self) -> str:
        """The id, with braces for the kind."""
        ...

    @property
    def plain_id(self) -> str:
        """The id without braces."""
        ...

    @property
    def city(self) -> str:
        """The name of its site."""
        ...

    @property
    def date(self) -> str:
        """YYYYMMDD, or nothing."""
        ...

    @property
    def shown(self) -> str:
        """What messages call it."""
        ...

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where it lies."""
        ...

    def output_name(self, kind: str) -> str:
        """The file name of a raster made of it."""
        ...


class Headers(Protocol):
    """What the files of a scene say."""

    @property
    def scene(self) -> Scene:
        """What it is of."""
        ...

    @property
    def grid(self) -> Grid:
        """What it is read on."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The plain files that it is read from."""
        ...

    @property
    def validity(self) -> Mapping[str, str]:
        """What says which pixels are valid besides values; settings of jobs."""
        ...

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is to be said of it."""
        ...

    @property
    def sampled(self) -> str:
        """What tells its values apart where no sha256 does."""
        ...


class Found(Protocol):
    """The scenes of an input, and what is refused."""

    @property
    def scenes(self) -> Sequence[Any]:
        """In a fixed order."""
        ...

    @property
    def problems(self) -> Sequence[BuiltupError]:
        """What is refused."""
        ...


class SceneSource(Protocol):
    """How the scenes of a sensor are found, judged and read."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What pixels depend on besides the files."""
        ...

    def find(self, input_path: str, allow: Allow) -> Found:
        """The scenes of `input_path`; InputError where there are none."""
        ...

    def read_each(self, scenes: Sequence[Any]) -> Iterator[Any]:
        """The headers of each scene in turn, or the BuiltupError why it cannot be used."""
        ...

    def judged(self, headers: Any) -> Any:
        """The same headers once it is made sure what the values mean; may look at some."""
        ...

    def cache_bytes(self, headers: Any, rows: int) -> int:
        """GDAL's cache for reading a scene in windows of `rows`."""
        ...

    def within(
        self, headers: Any, area: str, cache: int
    ) -> AbstractContextManager[Callable[[Window], NDArray[np.float32]]]:
        """Open what reads a scene by windows, (inputs, h, w), NaN where nothing is known, and
        nothing read where `area` does not meet."""
        ...
