"""Importing an orthomosaic against gdalwarp and whole files in memory, and how memory grows.

    python benchmarks/import_scenes.py [--sizes 6000,12000] [--pairs 3] [--root output/benchmarks]

An orthomosaic of 10 cm (RGBA, deflate), labels in six colours (PNG) and a surface model of 20 cm on
another grid of the same CRS are made: streets of houses, all of it repeated, so that what grows is
the size. Both sides write picture with overviews, class numbers and heights above the ground. The
peer is measured at the first size, ours at all. Printed are throughput by wall clock and by CPU
seconds (those of the peer's gdalwarp included), and the peaks of memory. Exit status 1 where ours
is below LEAST times the peer by CPU seconds, above 400 MB, or grows by more than a tenth.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from harness import HERE, Measurement, Side, measure_clean, spread
from PIL import Image
from rasterio.windows import Window

LEAST, MOST_MB, MOST_GROWTH = 2.0, 400.0, 1.1
NAME = "mosaic"
#: Pixels of the pattern that is repeated.
PATTERN = 1500
_CLASSES = ((230, 25, 75), (60, 180, 75), (255, 255, 255), (0, 130, 200), (255, 0, 255))
Image.MAX_IMAGE_PIXELS = None


def main() -> int:
    options = _parse()
    sizes = [int(text) for text in options.sizes.split(",")]
    roots = {size: _mosaic(options.root / f"mosaic_{size}", size) for size in sizes}
    ours = {size: _ours(root, options.root) for size, root in roots.items()}
    peer = Side(
        "gdalwarp and whole files",
        HERE / "peers" / "gdalwarp_whole.py",
        {"root": str(roots[sizes[0]]), "output": str(options.root / "peer"), "name": NAME},
        scratch=options.root / "peer",
    )
    pairs = [(measure_clean(ours[sizes[0]]), measure_clean(peer)) for _ in range(options.pairs)]
    first = [one for one, _ in pairs]
    _print("builtup", sizes[0], first)
    _print(peer.name, sizes[0], [other for _, other in pairs])
    wall = spread([b.seconds / a.seconds for a, b in pairs])
    cpu = spread([b.cpu_seconds / a.cpu_seconds for a, b in pairs])
    print(f"ratio by wall clock {wall.median:.2f} ({wall.low:.2f} to {wall.high:.2f})")
    print(f"ratio by CPU seconds {cpu.median:.2f} ({cpu.low:.2f} to {cpu.high:.2f})")
    missed = cpu.median < LEAST
    small = spread([m.memory_mb for m in first]).median
    for size in sizes[1:]:
        runs = [measure_clean(ours[size]) for _ in range(options.pairs)]
        _print("builtup", size, runs)
        large = spread([m.memory_mb for m in runs]).median
        print(f"memory grows {large / small:.2f} times from {sizes[0]}² to {size}²")
        missed |= large > MOST_MB or large / small > MOST_GROWTH
    return int(missed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="6000,12000", help="sides in pixels")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--root", type=Path, default=HERE.parent / "output" / "benchmarks")
    return parser.parse_args()


def _print(name: str, size: int, runs: list[Measurement]) -> None:
    rate = spread([m.rate for m in runs]).median
    busy = spread([m.cpu_seconds for m in runs]).median
    memory = spread([m.memory_mb for m in runs]).median
    print(f"{name:26} {size}² {rate:6.1f} Mpx/s {busy:6.1f} CPU s {memory:6.0f} MB", flush=True)


def _ours(root: Path, scratch: Path) -> Side:
    arguments = {"root": str(root), "output": str(scratch / "ours")}
    return Side("builtup", HERE / "ours" / "import_scenes.py", arguments, scratch=scratch / "ours")


def _mosaic(root: Path, size: int) -> Path:
    """A data set of one scene in the DroneDeploy layout; one that is there is kept."""
    if (root / "done").exists():
        return root
    for folder in ("images", "labels", "elevations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image, numbers, surface = _pattern()
    place = Affine(0.1, 0, 500_000, 0, -0.1, 4_000_000)
    _write_tiled(
        root / f"images/{NAME}-ortho.tif", image, size, place, photometric="RGB", alpha="YES"
    )
    times = -(-size // PATTERN)
    labels = np.array(_CLASSES, np.uint8)[numbers]
    Image.fromarray(np.tile(labels, (times, times, 1))[:size, :size]).save(
        root / f"labels/{NAME}-label.png", compress_level=3
    )
    finer = place @ Affine.translation(-50.3, -40.7) @ Affine.scale(2)
    _write_tiled(
        root / f"elevations/{NAME}-elev.tif", surface, size // 2 + 100, finer, nodata=-9999
    )
    (root / "done").touch()
    return root


def _pattern() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(4, H, W) picture, (H, W) classes, and (1, H/2, W/2) metres: houses, trees, cars, a gap."""
    generator = np.random.default_rng(0)
    numbers = np.full((PATTERN, PATTERN), 2, np.uint8)
    surface = np.full((PATTERN, PATTERN), 1600, np.float32)
    for kind, count, side, height in ((0, 40, 110, 6), (1, 90, 60, 8), (3, 60, 30, 1.5)):
        for y, x in generator.integers(0, PATTERN - side, (count, 2)):
            numbers[y : y + side, x : x + side] = kind
            surface[y : y + side, x : x + side] = 1600 + height
    numbers[:200, :300] = 4
    tones = np.array([(150, 90, 80), (60, 100, 50), (140, 130, 120), (90, 90, 100), (0, 0, 0)])
    colours = tones[numbers] + generator.normal(0, 12, (PATTERN, PATTERN, 1))
    image = np.empty((4, PATTERN, PATTERN), np.uint8)
    image[:3] = np.moveaxis(np.clip(colours, 1, 255), -1, 0)
    image[3] = np.where(numbers == 4, 0, 255)
    image[:3, numbers == 4] = 0
    surface += generator.normal(0, 0.05, surface.shape).astype(np.float32)
    return image, numbers, surface[None, ::2, ::2]


def _write_tiled(
    path: Path, pattern: np.ndarray, size: int, place: Affine, **profile: object
) -> None:
    """Repeat a pattern (B, H, W) into a GeoTIFF, a band of blocks at a time."""
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    bands, height, width = pattern.shape
    row = np.tile(pattern, (1, 1, -(-size // width)))[:, :, :size]
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=bands, dtype=pattern.dtype,
        crs="EPSG:32613", transform=place, predictor=3 if pattern.dtype == np.float32 else 2,
        num_threads=2, bigtiff="IF_SAFER", **layout, **profile,
    ) as out:  # fmt: skip
        for y in range(0, size, 256):
            lines = np.arange(y, min(y + 256, size)) % height
            out.write(row[:, lines], window=Window(0, y, size, len(lines)))


if __name__ == "__main__":
    sys.exit(main())
