"""What is to be done for a scene, and what all of its layers have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

from builtup.geo.grid import Grid
from builtup.geo.windows import Window, aligned
from builtup.sensors.classes import Classes
from builtup.sensors.optical.pictures import WINDOW
from builtup.sensors.optical.raw_scenes import RawScene
from builtup.sensors.remarks import Remark

__all__ = ["BLOCK", "KINDS", "REMARKS", "SceneWork", "layer_profile", "remarks_tag", "windows_of"]

#: The kinds of rasters, as their names end, and the folders they stand in.
KINDS = {"image": "images", "mask": "masks", "soft": "soft", "height": "height"}
#: The tag of a layer for what was chosen when it was made, a list of remarks as JSON.
REMARKS = "BUILTUP_REMARKS"
BLOCK = 256


@dataclass(frozen=True)
class SceneWork:
    """What is to be done for a scene.

    `grid` is its picture's, `first` the number of class 0 in labels of numbers, `metres` the side
    of a pixel (None: not known), `elevation_grid` where its elevation lies; `remarks` were made of
    it already, and `alpha_from` says how its picture's pixels without data are told.
    """

    scene: RawScene
    grid: Grid
    classes: Classes
    first: int
    metres: float | None
    elevation_grid: Grid | None
    remarks: tuple[Remark, ...]
    alpha_from: str = "alpha"

    def tags(self) -> dict[str, str]:
        """What each layer says of the scene."""
        known = self.metres is not None and not self.grid.crs
        return {
            "BUILTUP_SENSOR": self.scene.sensor.name,
            "BUILTUP_SCENE": f"{self.scene.name}_{{}}",
            "BUILTUP_CITY": self.scene.site,
            **({"BUILTUP_METRES": f"{self.metres:g}"} if known else {}),
        }


def windows_of(grid: Grid) -> Iterator[Window]:
    """The windows that layers are read and written in: whole blocks, row by row."""
    return aligned(grid.width, grid.height, WINDOW)


def layer_profile(grid: Grid, count: int, dtype: str) -> dict[str, Any]:
    """How layers are stored, as settings of rasterio; not compressed, so that training reads
    patches anywhere."""
    place = {"crs": grid.crs} if grid.crs else {}
    if not grid.transform.is_identity:
        place["transform"] = grid.transform
    return {
        "width": grid.width,
        "height": grid.height,
        "count": count,
        "dtype": dtype,
        **place,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
    }


def remarks_tag(remarks: list[Remark]) -> dict[str, str]:
    """Remarks as the tag of a layer; no tag where there are none."""
    return {REMARKS: json.dumps([astuple(remark) for remark in remarks])} if remarks else {}
