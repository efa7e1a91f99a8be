"""An orthomosaic that is measured on: colours, classes and elevation, imported by the project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio import Affine
from scene import Layout, builtup, only, rewrite
from scipy.ndimage import gaussian_filter

from builtup.jobs.files import atomic_path

__all__ = ["Orthomosaic"]

NAME = "bench"
PIXEL, CRS = 0.1, "EPSG:32633"
#: Colours of the labels of the DroneDeploy benchmark: five of its classes.
COLOURS = ((255, 255, 255), (60, 180, 75), (230, 25, 75), (0, 130, 200), (145, 30, 180))
#: Pixels of an elevation raster's cell: such rasters are coarser than their images.
COARSER = 5


@dataclass(frozen=True)
class Orthomosaic:
    """A scene of `size` x `size` pixels of 8 bits below `folder`, with labels and heights."""

    folder: Path
    size: int

    @property
    def scenes(self) -> Path:
        """What was imported: images, masks, height."""
        return self.folder / "scenes"

    @property
    def tiles(self) -> Path:
        """Tile lists that point into the scenes."""
        return self.folder / "tiles"

    def layer(self, kind: str, folder: str) -> Path:
        """The raster of a layer."""
        return only((self.scenes / folder).rglob(f"{NAME}_{kind}.tif"))

    @property
    def layers(self) -> dict[str, Path]:
        """Image, mask and height."""
        folders = {"image": "images", "mask": "masks", "height": "height"}
        return {kind: self.layer(kind, folder) for kind, folder in folders.items()}

    def prepare(self) -> None:
        """Draw the scene in the benchmark's own layout, import it and list its tiles."""
        raw = self.folder / "raw"
        if not (raw / "index.csv").is_file():
            _draw(raw, self.size)
        builtup(
            "import_scenes", "--layout", "dronedeploy", "--input_path", raw,
            "--output_path", self.scenes,
        )  # fmt: skip
        for folder in ("images", "masks", "height"):
            builtup(
                "generate_tiles", "--input_path", self.scenes / folder,
                "--output_path", self.tiles / folder, "--materialize", "false",
            )  # fmt: skip

    def lay_out(self, layout: Layout) -> dict[str, Path]:
        """The layers as GeoTIFFs of another layout, the image without its alpha band."""
        folder = self.folder / "peer" / layout.slug
        found = {}
        for kind, source in self.layers.items():
            target = found[kind] = folder / f"{kind}.tif"
            if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
                rewrite(source, target, layout, bands=3 if kind == "image" else 1)
        return found


def _draw(raw: Path, size: int) -> None:
    """Classes, colours that follow them with noise, and an elevation that does."""
    generator = np.random.default_rng(0)
    relief = _smooth(generator, size, 40)
    classes = np.digitize(_smooth(generator, size, 12), (-0.8, 0.2, 1.2, 1.8)).astype(np.uint8)
    for folder in ("images", "labels", "elevations"):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    palette = np.array(COLOURS, np.uint8)
    Image.fromarray(palette[classes]).save(raw / "labels" / f"{NAME}-label.png", compress_level=1)
    profile = {"driver": "GTiff", "crs": CRS, "tiled": True, "blockxsize": 256, "blockysize": 256}
    place = Affine(PIXEL, 0, 4e5, 0, -PIXEL, 5e6)
    image = raw / "images" / f"{NAME}-ortho.tif"
    with rasterio.open(
        image, "w", **profile, count=4, dtype="uint8", width=size, height=size, transform=place,
        compress="zstd", photometric="RGB", alpha="yes",
    ) as out:  # fmt: skip
        for band in range(3):
            tone = 60 + 35 * ((classes + band) % 5) + 20 * relief
            tone += 12 * generator.standard_normal((size, size), dtype=np.float32)
            out.write(np.clip(tone, 0, 255).astype(np.uint8), band + 1)
        out.write(np.full((size, size), 255, np.uint8), 4)
    ground = 200 + 8 * relief + np.where(classes == 2, 6, 0)
    cells = ground[::COARSER, ::COARSER].astype(np.float32)
    with rasterio.open(
        raw / "elevations" / f"{NAME}-elev.tif", "w", **profile, count=1, dtype="float32",
        width=cells.shape[1], height=cells.shape[0], transform=place @ Affine.scale(COARSER),
    ) as out:  # fmt: skip
        out.write(cells, 1)
    with atomic_path(raw / "index.csv") as draft:
        draft.write_text(f"0 {NAME}\n", encoding="utf-8")


def _smooth(generator: np.random.Generator, size: int, sigma: float) -> NDArray[np.float32]:
    """Noise smoothed by `sigma` pixels of four, of variance 1."""
    coarse = -(-size // 4)
    noise = generator.standard_normal((coarse, coarse), dtype=np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    found: NDArray[np.float32] = np.kron(smooth / smooth.std(), np.ones((4, 4), np.float32))
    return found[:size, :size]
