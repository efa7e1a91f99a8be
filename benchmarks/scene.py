"""The scene that is measured on, made by the project's simulator and its own steps.

Everything stands under output/bench/<size>/ and is made once: the steps know what is done. The
simulator's seed is fixed, so the scene is the same everywhere.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from builtup.files import atomic_path
from builtup.raster.io import gdal_env
from builtup.results import PredictionTags, write_tags

__all__ = ["ROOT", "StepFailed", "Workspace", "city_rasters"]

ROOT = Path(__file__).resolve().parents[1]
SEED = "0"
BLOCK = 512
CITY = "38SLF_Bench"


class StepFailed(RuntimeError):
    """A step that makes the scene failed; the message is its last line."""


@dataclass(frozen=True)
class Workspace:
    """One simulated scene of `size` x `size` pixels below `folder`, and what was made from it."""

    folder: Path
    size: int

    @property
    def train(self) -> Path:
        """The split of one city and one date."""
        return self.folder / "simulated" / "train"

    @property
    def images(self) -> Path:
        """Where the 3-band scene stands."""
        return self.folder / "images_3b"

    @property
    def masks(self) -> Path:
        """Where the mask stands."""
        return self.folder / "masks"

    @property
    def tiles(self) -> Path:
        """Tile lists that point into the scenes, for image and mask."""
        return self.folder / "tiles"

    @property
    def peer_image(self) -> Path:
        """The 3-band scene as a compressed 512-block GeoTIFF."""
        return self.folder / "peer_image.tif"

    @property
    def peer_mask(self) -> Path:
        """The mask in the same layout."""
        return self.folder / "peer_mask.tif"

    def polarisation(self, name: str) -> Path:
        """The file of `vv` or `vh`."""
        return _only(p for p in self.train.rglob(f"*_{name}_*.tif") if "BorderMask" not in p.name)

    @property
    def polygons(self) -> Path:
        """The shapefile of the city."""
        return _only(p for p in self.train.rglob("*.shp") if not p.stem.endswith("_labelled_area"))

    @property
    def image(self) -> Path:
        """The 3-band scene."""
        return self._made(self.images, "3b")

    @property
    def mask(self) -> Path:
        """The mask of the scene."""
        return self._made(self.masks, "mask")

    def _made(self, folder: Path, kind: str) -> Path:
        return _only(folder.rglob(self.polarisation("vv").name.replace("_vv_", f"_{kind}_")))

    def scratch(self, name: str) -> Path:
        """A folder for what a measured run writes."""
        return self.folder / "scratch" / name

    def simulate(self) -> None:
        """Simulate the scene: VV, VH and polygons."""
        _builtup(
            "simulate", "--output_path", self.folder / "simulated", "--cities", 1,
            "--test_cities", 0, "--dates", 1, "--size", self.size, "--seed", SEED,
        )  # fmt: skip

    def prepare(self) -> None:
        """Make the 3-band scene and the mask with the project's own steps."""
        paths = ("--input_path", self.train, "--output_path")
        _builtup("generate_3b_images", *paths, self.images)
        _builtup("rasterize", *paths, self.masks)

    def cut(self) -> None:
        """List the tiles of image and mask, which stay in the scenes (not materialised)."""
        for source, name in ((self.images, "images"), (self.masks, "masks")):
            _builtup(
                "generate_tiles", "--input_path", source, "--output_path", self.tiles / name,
                "--materialize", "false",
            )  # fmt: skip

    def recompress(self) -> None:
        """Write image and mask as TorchGeo's user would hold them: 512 blocks, ZSTD."""
        for source, target in ((self.image, self.peer_image), (self.mask, self.peer_mask)):
            if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
                _recompress(source, target)


def _builtup(*arguments: object) -> None:
    """Run a command of ours; StepFailed with the end of what it said."""
    command = [sys.executable, "-m", "builtup", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise StepFailed(f"builtup {arguments[0]}: {said[-1]}")


def _recompress(source: Path, target: Path) -> None:
    with gdal_env(), rasterio.open(source) as scene, atomic_path(target) as draft:
        profile = {
            "driver": "GTiff", "count": scene.count, "dtype": scene.dtypes[0],
            "width": scene.width, "height": scene.height, "crs": scene.crs,
            "transform": scene.transform, "nodata": scene.nodata, "tiled": True,
            "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "zstd", "interleave": "pixel",
        }  # fmt: skip
        with rasterio.open(draft, "w", **profile) as out:
            for _, window in out.block_windows(1):
                out.write(scene.read(window=window), window=window)


def city_rasters(folder: Path, size: int) -> Path:
    """Write a city's mask and probability below `folder`/raw; return the mask.

    Settlement-like regions, about 5,000 on 4,096²: smoothed noise cut at its 94th percentile, with
    a wedge of no-data in one corner, tagged as `polygonize` expects it.
    """
    noise = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    smooth = gaussian_filter(noise, 7, mode="wrap")
    excess = smooth - np.quantile(smooth, 0.94)
    probability = np.clip(127 + np.round(excess * 2000), 0, 254).astype(np.uint8)
    mask = (probability >= 127).astype(np.uint8)
    ys, xs = np.ogrid[:size, :size]
    gap = xs + ys < size // 16
    raw = folder / "raw"
    for name, values in ((f"{CITY}_prob", probability), (CITY, mask)):
        values[gap] = 255
        _write_city(raw / f"{name}.tif", values)
    return raw / f"{CITY}.tif"


def _write_city(path: Path, values: NDArray[np.uint8]) -> None:
    height, width = values.shape
    profile = {
        "driver": "GTiff", "count": 1, "dtype": "uint8", "width": width, "height": height,
        "crs": "EPSG:32638", "transform": rasterio.Affine(10, 0, 3e5, 0, -10, 4e6),
        "nodata": 255, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "compress": "zstd",
    }  # fmt: skip
    with atomic_path(path) as draft, rasterio.open(draft, "w", **profile) as out:
        out.write(values, 1)
        write_tags(out, PredictionTags("", CITY, width, height, "", 0.5))


def _only(found: object) -> Path:
    paths = sorted(found)  # type: ignore[call-overload]
    if len(paths) != 1:
        raise SystemExit(f"expected one file, found {len(paths)}: {[str(p) for p in paths[:3]]}")
    return Path(paths[0])
