"""The scene that is measured on, made by the project's simulator and its own steps.

Everything stands under output/bench/<size>/ and is made once: the steps know what is done. The
simulator's seed is fixed, so the scene is the same everywhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow
from scipy.ndimage import gaussian_filter

from builtup.geo.rasters import gdal_env
from builtup.geo.windows import aligned
from builtup.jobs.files import atomic_path
from builtup.runs.results import PredictionTags, write_tags

__all__ = [
    "CITY",
    "ROOT",
    "Layout",
    "StepFailed",
    "Workspace",
    "bare_mask",
    "builtup",
    "city_rasters",
    "only",
    "repeat_city",
    "repeat_scene",
    "rewrite",
]

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

    def polarisation(self, name: str) -> Path:
        """The file of `vv` or `vh`."""
        return only(p for p in self.train.rglob(f"*_{name}_*.tif") if "BorderMask" not in p.name)

    @property
    def polygons(self) -> Path:
        """The shapefile of the city."""
        return only(p for p in self.train.rglob("*.shp") if not p.stem.endswith("_labelled_area"))

    @property
    def image(self) -> Path:
        """The 3-band scene."""
        return self._made(self.images, "3b")

    @property
    def mask(self) -> Path:
        """The mask of the scene."""
        return self._made(self.masks, "mask")

    def _made(self, folder: Path, kind: str) -> Path:
        return only(folder.rglob(self.polarisation("vv").name.replace("_vv_", f"_{kind}_")))

    def scratch(self, name: str) -> Path:
        """A folder for what a measured run writes."""
        return self.folder / "scratch" / name

    def simulate(self) -> None:
        """Simulate the scene: VV, VH and polygons."""
        builtup(
            "simulate", "--output_path", self.folder / "simulated", "--cities", 1,
            "--test_cities", 0, "--dates", 1, "--size", self.size, "--seed", SEED,
        )  # fmt: skip

    def prepare(self) -> None:
        """Make the 3-band scene and the mask with the project's own steps."""
        paths = ("--input_path", self.train, "--output_path")
        builtup("generate_3b_images", *paths, self.images)
        builtup("rasterize", *paths, self.masks)

    def cut(self) -> None:
        """List the tiles of image and mask, which stay in the scenes (not materialised)."""
        for source, name in ((self.images, "images"), (self.masks, "masks")):
            builtup(
                "generate_tiles", "--input_path", source, "--output_path", self.tiles / name,
                "--materialize", "false",
            )  # fmt: skip

    def lay_out(self, layout: Layout, mask_crs: str | None = None) -> tuple[Path, Path]:
        """Image and mask as GeoTIFFs of another layout, the mask perhaps in another CRS."""
        folder = self.folder / "peer" / layout.slug
        image, mask = folder / "image.tif", folder / f"mask{_slug(mask_crs or '')}.tif"
        for source, target, crs in ((self.image, image, None), (self.mask, mask, mask_crs)):
            if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
                rewrite(source, target, layout, crs)
        return image, mask

    def forget(self, layout: Layout) -> None:
        """Remove what `lay_out` made."""
        shutil.rmtree(self.folder / "peer" / layout.slug, ignore_errors=True)


@dataclass(frozen=True)
class Layout:
    """How the pixels of a GeoTIFF lie: tiles of `block` pixels, or GDAL's strips where it is 0."""

    block: int
    compress: str

    @property
    def title(self) -> str:
        """The layout in words."""
        blocks = f"tiles of {self.block}" if self.block else "strips"
        return f"{blocks}, {self.compress.upper() if self.compress != 'none' else 'uncompressed'}"

    @property
    def slug(self) -> str:
        """The layout as a file name."""
        return _slug(self.title)

    @property
    def options(self) -> dict[str, object]:
        """GDAL's creation options."""
        if not self.block:
            return {"tiled": False, "compress": self.compress, "bigtiff": "if_safer"}
        size = {"blockxsize": self.block, "blockysize": self.block}
        return {"tiled": True, "compress": self.compress, "bigtiff": "if_safer", **size}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower())


def builtup(*arguments: object) -> None:
    """Run a command of ours; StepFailed with the end of what it said."""
    command = [sys.executable, "-m", "builtup", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise StepFailed(f"builtup {arguments[0]}: {said[-1]}")


def rewrite(
    source: Path, target: Path, layout: Layout, crs: str | None = None, bands: int | None = None
) -> None:
    """The first bands of a raster (all by default) in another layout, perhaps in another CRS."""
    with (
        gdal_env(),
        rasterio.open(source) as original,
        WarpedVRT(original, crs=crs or original.crs) as scene,
        atomic_path(target) as draft,
    ):
        profile = {
            "driver": "GTiff", "count": bands or scene.count, "dtype": scene.dtypes[0],
            "width": scene.width, "height": scene.height, "crs": scene.crs,
            "transform": scene.transform, "nodata": scene.nodata, "interleave": "pixel",
        }  # fmt: skip
        read, chosen = scene if crs else original, list(range(1, profile["count"] + 1))
        with rasterio.open(draft, "w", **profile, **layout.options) as out:
            for window in aligned(scene.width, scene.height, (BLOCK, scene.width)):
                out.write(read.read(chosen, window=window.rasterio), window=window.rasterio)


def repeat_scene(source: Path, target: Path, times: int) -> Path:
    """The first two bands of a scene, `times` x `times` beside each other, block by block."""
    with gdal_env(), rasterio.open(source) as scene, atomic_path(target) as draft:
        profile = {**scene.profile, "count": 2, "bigtiff": "if_safer"}
        _repeat(scene, draft, profile, times)
    return target


def repeat_city(source: Path, target: Path, times: int) -> Path:
    """The rasters of a city (see `city_rasters`), repeated in the same way; returns `target`."""
    for name in (f"{CITY}_prob", CITY):
        path = target / "raw" / f"{name}.tif"
        with (
            gdal_env(),
            rasterio.open(source / "raw" / f"{name}.tif") as scene,
            atomic_path(path) as draft,
        ):
            width, height = scene.width * times, scene.height * times
            tags = PredictionTags("", CITY, width, height, "", 0.5)
            _repeat(scene, draft, dict(scene.profile), times, tags)
    return target


def _repeat(
    scene: rasterio.DatasetReader,
    draft: Path,
    profile: dict[str, object],
    times: int,
    tags: PredictionTags | None = None,
) -> None:
    width, height = scene.width, scene.height
    profile |= {"width": width * times, "height": height * times}
    bands = list(range(1, int(str(profile["count"])) + 1))
    with rasterio.open(draft, "w", **profile) as out:
        for down in range(times):
            for window in aligned(width, height, (BLOCK, width)):
                values = scene.read(bands, window=window.rasterio)
                row = down * height + window.y
                out.write(
                    np.tile(values, times),
                    window=RasterioWindow(0, row, width * times, window.height),
                )
        if tags is not None:
            write_tags(out, tags)


def city_rasters(folder: Path, size: int, sigma: float = 7) -> Path:
    """Write a city's mask and probability below `folder`/raw; return the mask.

    Settlement-like regions, about 5,000 on 4,096²: noise smoothed by `sigma` pixels and cut at its
    94th percentile, with a wedge of no-data in one corner, tagged as `polygonize` expects it. The
    less it is smoothed, the more regions.
    """
    noise = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    smooth = gaussian_filter(noise, sigma, mode="wrap")
    excess = smooth - np.quantile(smooth, 0.94)
    probability = np.clip(127 + np.round(excess * 285 * sigma), 0, 254).astype(np.uint8)
    mask = (probability >= 127).astype(np.uint8)
    ys, xs = np.ogrid[:size, :size]
    gap = xs + ys < size // 16
    raw = folder / "raw"
    for name, values in ((f"{CITY}_prob", probability), (CITY, mask)):
        values[gap] = 255
        _write_city(raw / f"{name}.tif", values)
    return raw / f"{CITY}.tif"


def bare_mask(mask: Path, target: Path) -> Path:
    """The mask as 0 and 1, 0 declared as its no-data: no peer outlines the background then."""
    with gdal_env(), rasterio.open(mask) as source, atomic_path(target) as draft:
        profile = {**source.profile, "nodata": 0}
        with rasterio.open(draft, "w", **profile) as out:
            for _, window in source.block_windows(1):
                values = source.read(1, window=window)
                out.write((values == 1).astype(np.uint8), 1, window=window)
    return target


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


def only(found: object) -> Path:
    """The one path among `found`; the program ends where there are fewer or more."""
    paths = sorted(found)  # type: ignore[call-overload]
    if len(paths) != 1:
        raise SystemExit(f"expected one file, found {len(paths)}: {[str(p) for p in paths[:3]]}")
    return Path(paths[0])
