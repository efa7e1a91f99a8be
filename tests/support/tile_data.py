"""3-band scenes, masks and tiles for the tests of the tile steps, made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from builtup.tiles.cut import generate_tiles
from builtup.tiles.folds import Folds
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TrainTile, read_tile_stats
from helpers import CRS, speckle, write_raster

TRANSFORM = Affine(10, 0, 300_000, 0, -10, 4_000_000)


def moved(dx: float, dy: float) -> Affine:
    """The grid of the tests moved by pixels to the right and down."""
    return TRANSFORM * Affine.translation(dx, dy)


def power(shape: tuple[int, int], seed: int = 0, gap: int = 5) -> NDArray[np.float32]:
    """(3, H, W) of VH, VV, mean; `gap` columns at the left have no data."""
    vh, vv = speckle(shape, 0.024, seed), speckle(shape, 0.14, seed + 1)
    bands = np.stack([vh, vv, (vh + vv) * np.float32(0.5)])
    bands[:, :, :gap] = np.nan
    return bands


def labels(image: NDArray[np.float32], seed: int = 0) -> NDArray[np.uint8]:
    """(H, W) of 0, 1, 255: some squares, nothing known where the image is empty."""
    generator = np.random.default_rng(seed + 100)
    mask = np.zeros(image.shape[1:], dtype=np.uint8)
    for _ in range(4):
        y, x = (int(generator.integers(0, n)) for n in mask.shape)
        mask[y : y + 9, x : x + 7] = 1
    mask[np.isnan(image[0])] = 255
    return mask


def add_scene(
    root: Path,
    city: str = "Alpha_2015",
    tile: str = "38SLF",
    date: str = "20150101",
    shape: tuple[int, int] = (70, 90),
    transform: Affine = TRANSFORM,
    crs: str = CRS,
    image: NDArray[np.float32] | None = None,
    mask: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Write `<root>/images_3b/<city>/…` and `<root>/masks/<city>/…`, and give the arrays."""
    seed = int(date) + sum(map(ord, tile))
    image = power(shape, seed) if image is None else image
    mask = labels(image, seed) if mask is None else mask
    name = f"s1a_{tile}_{{}}_ASC_{date}.tif"
    write_raster(
        root / "images_3b" / city / name.format("3b"), image, transform, crs, nodata=np.nan
    )
    write_raster(root / "masks" / city / name.format("mask"), mask, transform, crs, nodata=255)
    return image, mask


def tile_all(root: Path, size: int = 32, overlap: int = 8, materialize: bool = True) -> Path:
    """Tile images and masks of `root` into `<root>/tiles/{images,masks}`; give `<root>/tiles`."""
    for source, target in (("images_3b", "images"), ("masks", "masks")):
        generate_tiles(
            input_path=root / source,
            output_path=root / "tiles" / target,
            tile_size=size,
            overlap=overlap,
            materialize=materialize,
            num_workers=1,
        )
    return root / "tiles"


def prepared(
    root: Path, *, folds: str = "auto", blocks: str = "2x2", gap: int = 6, materialize: bool = False
) -> tuple[Folds, list[TrainTile]]:
    folder = tile_all(root, materialize=materialize)
    generate_tiles_stats(
        input_path=folder,
        output_path=folder,
        folds=folds,
        blocks=blocks,
        gap=gap,
        num_workers=1,
    )
    return Folds.read(folder), read_tile_stats(folder / "tile_stats.csv")
