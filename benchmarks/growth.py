"""Peak memory of our steps as the raster grows: from the small scene to one of 24,576².

The rasters are made block by block, the large one being the small one repeated, and removed
afterwards: what grows is the size, not what is in it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environments import Unavailable
from harness import HERE, Measurement, Side, measure_clean, spread
from many_polygons import remove_polygons
from scene import CITY, city_rasters, repeat_city, repeat_scene
from spaces import Spaces

__all__ = ["GROWTHS", "Growth", "grow"]

MOST_MB, MOST_GROWTH = 400.0, 1.1
FREE_BYTES = 20e9


@dataclass(frozen=True)
class Growth:
    """Peak memory of a step, run by run, at the small size and at the large one."""

    name: str
    title: str
    sizes: tuple[int, int]
    small: Sequence[Measurement]
    large: Sequence[Measurement]

    @property
    def megabytes(self) -> tuple[float, float]:
        """Median peaks in MB above the loaded process."""
        low, high = (spread([m.memory_mb for m in runs]) for runs in (self.small, self.large))
        return low.median, high.median

    @property
    def growth(self) -> float:
        """The peak at the large size over that at the small one."""
        small, large = self.megabytes
        return large / small

    def misses(self) -> list[str]:
        """The targets that were not met, in words."""
        found = []
        if self.megabytes[1] > MOST_MB:
            found.append(f"memory {self.megabytes[1]:.0f} > {MOST_MB:g} MB")
        if self.growth > MOST_GROWTH:
            found.append(f"memory grows {self.growth:.2f} > {MOST_GROWTH:g} times")
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        runs = {
            str(size): [[m.seconds, m.memory_mb, m.loaded_mb] for m in series]
            for size, series in zip(self.sizes, (self.small, self.large), strict=True)
        }
        return {
            "title": self.title,
            "memory_mb": self.megabytes,
            "growth": self.growth,
            "misses": self.misses(),
            "seconds_memory_loaded": runs,
        }


def grow(name: str, spaces: Spaces, runs: int) -> Growth:
    """Measure a step of GROWTHS; Unavailable where the disk is too full for the large raster."""
    title, rasters = GROWTHS[name]
    small, large = spaces.small.size, spaces.huge
    if large % small:
        raise Unavailable(f"{large} is not a multiple of {small}")
    spaces.root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(spaces.root).free < FREE_BYTES:
        raise Unavailable(f"less than {FREE_BYTES / 1e9:g} GB are free for a scene of {large}²")
    found = []
    for times in (1, large // small):
        with rasters(spaces, times) as (side, clean):
            series = []
            for _ in range(runs):
                clean()
                series.append(measure_clean(side))
            found.append(series)
    return Growth(name, title, (small, large), found[0], found[1])


@contextmanager
def _inference(spaces: Spaces, times: int) -> Iterator[tuple[Side, Callable[[], None]]]:
    """A scene of two bands, as a COG of probabilities, by a 1×1 convolution."""
    spaces.small.prepare()
    folder = spaces.root / f"memory_inference_{times}"
    try:
        scene = repeat_scene(spaces.small.image, folder / "scene.tif", times)
        output = folder / "out"
        arguments = {
            "image": str(scene), "output": str(output / "prob.tif"), "window": 512,
            "overlap": 64, "batch_size": 1, "threads": 1,
        }  # fmt: skip
        file = HERE / "ours" / "inference.py"
        yield Side("builtup", file, arguments, Path(sys.executable), scratch=output), _nothing
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _polygonize(spaces: Spaces, times: int) -> Iterator[tuple[Side, Callable[[], None]]]:
    """A city's mask to shapefile and GeoPackage."""
    source = spaces.small.folder / f"city_{spaces.small.size}"
    if not (source / "raw" / f"{CITY}.tif").exists():
        city_rasters(source, spaces.small.size)
    folder = spaces.root / f"memory_polygonize_{times}"
    try:
        city = repeat_city(source, folder, times)
        side = Side("builtup", HERE / "ours" / "polygonize.py", {"folder": str(city)})
        yield side, lambda: remove_polygons(city / "raw")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nothing() -> None:
    """Inference writes into its scratch, which is emptied anyway."""


#: Name, title and what makes the rasters and the side that reads them.
GROWTHS = {
    "memory-inference": ("blended inference, 512/64", _inference),
    "memory-polygonize": ("polygonise", _polygonize),
}
