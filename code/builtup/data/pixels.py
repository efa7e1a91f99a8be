"""How large pixels are on the ground, and as how large ones samples see them.

Images of many cameras have pixels of many sizes, and a network that has learnt houses of 80 pixels
does not know them by 20. With a reference all of them are seen in pixels of about that size.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from builtup.errors import ConfigError
from builtup.geo.lengths import alike, pixel_metres
from builtup.geo.rasters import gdal_env, open_raster
from builtup.tiles.table import TrainTile
from builtup.tiles.tile import Tile

__all__ = ["MOST_ENLARGED", "PixelSizes"]

log = logging.getLogger(__name__)

#: Pixels are not made finer than so many to one along a side: there is nothing in them to see.
MOST_ENLARGED = 4.0


class PixelSizes:
    """The sides of tiles' pixels in metres, read once a scene, and the `reference` of what is seen.

    A tile whose pixels' size is not known is taken to be of the reference. Raises ConfigError for a
    reference that is no length, InputError where a tile cannot be read.
    """

    def __init__(
        self, tiles: Sequence[Tile | TrainTile] = (), reference: float | None = None
    ) -> None:
        if reference is not None and not 0 < reference < float("inf"):
            raise ConfigError(
                f"reference_pixel = {reference}: expected metres above 0, or leave it out"
            )
        self.reference = reference
        first: dict[str, Path] = {}
        for tile in map(_own, tiles):
            first.setdefault(tile.scene, tile.path)
        self._metres: dict[str, float | None] = {}
        for scene, path in first.items():
            with gdal_env(), open_raster(path) as dataset:
                self._metres[scene] = pixel_metres(dataset)
        if reference is not None:
            self._say(reference)

    @classmethod
    def of_maps(cls, tiles: Sequence[Tile | TrainTile], reference: float | None) -> PixelSizes:
        """Of tiles that a network maps which has learnt from pixels of `reference` metres; with
        None no tile is looked at."""
        return cls(() if reference is None else tiles, reference)

    def factor(self, tile: Tile | TrainTile) -> float:
        """Pixels of the tile to one that is seen, along a side; 1 where nothing is known."""
        own = self._metres.get(_own(tile).scene)
        if self.reference is None or own is None:
            return 1.0
        return max(1 / MOST_ENLARGED, self.reference / own)

    def near(self, tile: Tile | TrainTile) -> bool:
        """Whether the tile's pixels are near enough to the reference to be mapped as they are."""
        return alike(self.factor(tile), 1.0)

    def shape(self, tile: Tile | TrainTile) -> tuple[int, int]:
        """Rows and columns of the whole tile as it is mapped: its own where they are near."""
        own, factor = _own(tile), 1.0 if self.near(tile) else self.factor(tile)
        return max(1, round(own.height / factor)), max(1, round(own.width / factor))

    def metres(self, tile: Tile | TrainTile, factor: float = 1.0) -> float | None:
        """The side of pixels that are `factor` of the tile's own; None where it is not known."""
        own = self._metres.get(_own(tile).scene)
        return None if own is None else own * factor

    def _say(self, reference: float) -> None:
        """A line each of what is seen at another size, what is not known, what is too coarse."""
        known = [v for v in self._metres.values() if v is not None]
        if known:
            log.info(
                "pixels of %.3g to %.3g m in %d scenes are seen in pixels of about %g m",
                *(min(known), max(known), len(known), reference),
            )
        if unknown := [name for name, v in self._metres.items() if v is None]:
            log.warning(
                "the size of the pixels of %d scenes is not known: taken to be %g m (%s)",
                *(len(unknown), reference, ", ".join(unknown[:3])),
            )
        coarse = [
            name
            for name, v in self._metres.items()
            if v is not None and v / reference > MOST_ENLARGED
        ]
        if coarse:
            log.warning(
                "%d scenes have pixels of more than %g times %g m and are enlarged so many times "
                "only (%s)",
                *(len(coarse), MOST_ENLARGED, reference, ", ".join(coarse[:3])),
            )


def _own(tile: Tile | TrainTile) -> Tile:
    return tile.tile if isinstance(tile, TrainTile) else tile
