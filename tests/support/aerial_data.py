"""Images of a camera with classes and heights, as `import_scenes` writes them, made by hand.

Three classes: ground of any colour, buildings that stand 6 m above it, and green trees of 8 m.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetWriter

from builtup.geo.grid import Grid
from builtup.geo.rasters import create_raster
from builtup.maps.class_map import write_class_map
from builtup.runs.results import PredictionTags
from builtup.sensors.classes import Classes
from builtup.tiles.cut import generate_tiles
from builtup.tiles.folds import Folds
from builtup.tiles.stats import generate_tiles_stats
from builtup.tiles.table import TrainTile, read_tile_stats
from helpers import CRS

NAMES = ("ground", "building", "tree")
COLOURS = ((9, 9, 9), (200, 0, 0), (0, 99, 0))
PIXEL = 0.25
LAYERS = ("images", "masks", "height")


def truth(seed: int, shape: tuple[int, int] = (96, 112)) -> NDArray[np.uint8]:
    """(H, W) of classes 0, 1, 2 and 255: some houses, some trees, a strip that nobody labelled."""
    generator = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for number, side in ((1, 18), (2, 10)) * 5:
        y, x = (int(generator.integers(0, n - side)) for n in shape)
        mask[y : y + side, x : x + side] = number
    mask[:, -6:] = 255
    return mask


def camera(mask: NDArray[np.uint8], seed: int, gap: int = 4) -> NDArray[np.uint8]:
    """(4, H, W): red, green, blue, alpha; `gap` rows at the top have no data, and one house is
    black."""
    generator = np.random.default_rng(seed + 1)
    noise = generator.normal(0, 12, (3, *mask.shape))
    level = np.array([[120, 120, 110], [165, 90, 80], [60, 130, 50], [120, 120, 110]], np.float32)
    colours = np.moveaxis(level[np.minimum(mask, 3)], -1, 0) + noise
    image = np.full((4, *mask.shape), 255, np.uint8)
    image[:3] = np.clip(colours, 0, 255)
    image[:3, 40:44, 40:44] = 0  # a shadow: black is data
    image[:, :gap] = 0
    return image


def heights(mask: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """(H, W) metres above ground, unknown in one corner."""
    generator = np.random.default_rng(seed + 2)
    above = np.array([0.0, 6.0, 8.0, 0.0], np.float32)[np.minimum(mask, 3)]
    height = (above + generator.normal(0, 0.2, mask.shape)).astype(np.float32)
    height[-12:, :12] = np.nan
    return height


def add_site(
    root: Path,
    site: str,
    *,
    seed: int = 0,
    name: str = "",
    crs: str | None = None,
    origin: tuple[float, float] = (0.0, 0.0),
    height: bool = True,
    names: tuple[str, ...] = NAMES,
    shape: tuple[int, int] = (96, 112),
    image: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Write the layers of one scene below `<root>/{images,masks,height}/<site>`; give the mask."""
    name = name or f"{site}_scene"
    mask = truth(seed, shape)
    image = camera(mask, seed) if image is None else image
    tags = {"BUILTUP_SENSOR": "rgb", "BUILTUP_SCENE": f"{name}_{{}}", "BUILTUP_CITY": site}
    place = Affine.identity()
    if crs:
        place = Affine(PIXEL, 0, 300_000 + origin[0], 0, -PIXEL, 4_000_000 + origin[1])
    else:
        tags["BUILTUP_METRES"] = str(PIXEL)
    where = {"crs": crs, "transform": place, "tiled": True, "blockxsize": 64, "blockysize": 64}
    size = {"width": shape[1], "height": shape[0], **where}
    with _new(root / "images" / site / f"{name}_image.tif", 4, "uint8", size) as out:
        out.write(image)
        out.colorinterp = [getattr(ColorInterp, c) for c in ("red", "green", "blue", "alpha")]
        out.descriptions = ("red", "green", "blue", "alpha")
        out.update_tags(**tags)
    with _new(root / "masks" / site / f"{name}_mask.tif", 1, "uint8", size, nodata=255) as out:
        out.write_colormap(1, dict(enumerate(COLOURS)))
        out.write(mask, 1)
        of_classes = (
            Classes.with_roles(names, {"colours": COLOURS[: len(names)]}).tags() if names else {}
        )
        out.update_tags(**tags, **of_classes)
    if height:
        path = root / "height" / site / f"{name}_height.tif"
        with _new(path, 1, "float32", size, nodata=np.nan) as out:
            out.write(heights(mask, seed), 1)
            out.update_tags(**tags)
    return mask


def _new(path: Path, count: int, dtype: str, size: dict[str, object], **more: object):  # type: ignore[no-untyped-def]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"count": count, "dtype": dtype, **size, **more}
    return create_raster(path, **profile, interleave="band")


def tile_layers(root: Path, size: int = 48, overlap: int = 8, *, materialize: bool = True) -> Path:
    """Tile what layers `root` has into `<root>/tiles`."""
    for layer in LAYERS:
        if (root / layer).is_dir():
            generate_tiles(
                input_path=root / layer,
                output_path=root / "tiles" / layer,
                tile_size=size,
                overlap=overlap,
                materialize=materialize,
                num_workers=1,
            )
    return root / "tiles"


def measured(
    root: Path, *, folds: str = "auto", gap: str = "4", materialize: bool = True
) -> tuple[Folds, list[TrainTile]]:
    """Tile and measure all layers; give the folds and the rows."""
    folder = tile_layers(root, materialize=materialize)
    generate_tiles_stats(input_path=folder, output_path=folder, folds=folds, gap=gap, num_workers=1)
    return Folds.read(folder), read_tile_stats(folder / "tile_stats.csv")


def measured_houses(root: Path, *sites: str) -> Path:
    """Tiles of sites with two classes, in which trees are ground."""
    for number, site in enumerate(sites):
        add_site(root, site, seed=number, height=False, names=NAMES[:2])
    for path in (root / "masks").rglob("*.tif"):
        with rasterio.open(path, "r+") as dataset:
            values = dataset.read(1)
            dataset.write(np.where(values == 2, 0, values).astype(np.uint8), 1)
    measured(root)
    return root / "tiles"


__all__ = ["CRS", "NAMES", "DatasetWriter", "add_site", "measured", "tile_layers"]


def map_site(root: Path, name: str, mask: NDArray[np.uint8], run_id: str = "") -> Path:
    """Write the map of a scene of `add_site` into `<root>/maps/raw`: its truth, of which the upper
    left corner is all ground. Gives the folder of the predictions."""
    raw = root / "maps" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    shown = mask.copy()
    shown[:40, :40] = 0
    levels = np.stack([np.where(shown == k, 200, 20) for k in range(len(NAMES))]).astype(np.uint8)
    levels[:, shown == 255] = 255
    (image,) = (root / "images").rglob(f"{name}_image.tif")
    with rasterio.open(image) as dataset:
        grid = Grid.of(dataset)
    draft = root / f"{name}_draft.tif"
    size = {"width": grid.width, "height": grid.height}
    with _new(
        draft, len(NAMES), "uint8", {**size, "transform": grid.transform, "crs": grid.crs}
    ) as out:
        out.write(levels)
    tags = PredictionTags(
        f"{name}_{{}}", name, grid.width, grid.height, run_id, 0.5, NAMES, sensor="rgb"
    )
    write_class_map(draft, raw / f"{name}.tif", raw / f"{name}_confidence.tif", tags)
    return root / "maps"
