"""What predicting at several scales costs: memory as the scene grows, and time beside one scale.

    python benchmarks/cascade.py [--only memory,time,ways] [--runs 3] [--small 4096] [--large 12288]
        [--network mobilenet_v2|small]

Six classes, windows of 512, ε = 2. Memory is the peak above the loaded process, with a network of
one convolution, so that what is seen is ours: at most 400 MB, and at most 1.1 times as much on the
large scene. Time is that of the U-Net of configs/train/aerial (MobileNetV2) with two threads on the
small scene, cascade and plain in alternation: at most 1.45 times, where the levels alone are a
third more; `--network small` times a network that is several times as fast, so that folding counts
for more. `ways` prints what each way of benchmarks/aerial.py costs: Mpx/s and memory above the
loaded process, of the same U-Net on the small scene, stride 2 and three scales; it has no bar. Exit
status 1 where a bar is missed. All of it lies under output/bench/cascade and is removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from harness import HERE, Side, machine, measure_clean, spread
from scene import repeat_scene

from builtup.geo.rasters import gdal_env
from builtup.jobs.files import atomic_path

MOST_MB, MOST_GROWTH, MOST_TIMES = 400.0, 1.1, 1.45
#: Cuts by which memory is measured: the fold and the stride (0: an overlap of 64).
CUTS = (("soft", 0), ("vote", 2), ("", 0))
#: The ways of benchmarks/aerial.py: the fold, empty for one scale, and the stride.
WAYS = {
    "one window a pixel": ("", 1),
    "stride 2, Gaussian": ("", 2),
    "vote": ("vote", 2),
    "soft": ("soft", 2),
    "fitted logits": ("logits", 2),
    "mean of scales": ("mean", 2),
}
SCALES = (0.25, 0.5, 1.0)
#: Networks that are timed, the first where none is named.
NETWORKS = ("mobilenet_v2", "small")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say by the exit status whether the bars were met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="memory,time,ways")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--small", type=int, default=4096)
    parser.add_argument("--large", type=int, default=12288)
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--root", type=Path, default=HERE.parent / "output" / "bench" / "cascade")
    options = parser.parse_args(arguments)
    misses: list[str] = []
    figures: dict[str, Any] = {"machine": machine()}
    with _scenes(options.root, options.small, options.large) as (small, large):
        if "memory" in options.only:
            figures["memory"] = _memory(options.root, (small, large), options.runs, misses)
        if "time" in options.only:
            figures["time"] = _time(options.root, small, options.network, options.runs, misses)
        if "ways" in options.only:
            figures["ways"] = _ways(options.root, small, options.network, options.runs)
    print(json.dumps(figures))
    for miss in misses:
        print(f"missed: {miss}", file=sys.stderr)
    return 1 if misses else 0


def _memory(
    root: Path, scenes: Sequence[Path], runs: int, misses: list[str]
) -> list[dict[str, Any]]:
    rows = []
    for fold, stride in CUTS:
        peaks = []
        for scene in scenes:
            side = _side(root, scene, fold, stride, "convolution", 1)
            peaks.append(spread([measure_clean(side).memory_mb for _ in range(runs)]).median)
        small, large = peaks
        title = f"{fold or 'one scale'}, {f'stride {stride}' if stride else 'overlap 64'}"
        print(f"{title}: {small:.0f} MB, {large:.0f} MB, growth {large / small:.2f}")
        rows.append({"what": title, "memory_mb": peaks, "growth": large / small})
        if large > MOST_MB:
            misses.append(f"{title}: {large:.0f} MB, more than {MOST_MB:g}")
        if large > MOST_GROWTH * small:
            misses.append(f"{title}: grows {large / small:.2f} times, more than {MOST_GROWTH:g}")
    return rows


def _time(
    root: Path, scene: Path, network: str, runs: int, misses: list[str]
) -> list[dict[str, Any]]:
    rows = []
    for fold in ("soft", "vote"):
        times, rates = [], []
        for _ in range(runs):
            plain, several = (
                measure_clean(_side(root, scene, which, 0, network, 2)) for which in ("", fold)
            )
            times.append(several.seconds / plain.seconds)
            rates.append((plain.rate, several.rate))
        found = spread(times)
        rate = [spread(of).median for of in zip(*rates, strict=True)]
        print(
            f"{fold}: {found.median:.2f} times one scale ({found.low:.2f}–{found.high:.2f}); "
            f"{rate[0]:.2f} and {rate[1]:.2f} Mpx/s"
        )
        rows.append({"what": fold, "network": network, "times": times, "mpx_per_second": rate})
        if found.median > MOST_TIMES:
            misses.append(f"{fold}: {found.median:.2f} times one scale, more than {MOST_TIMES:g}")
    return rows


def _ways(root: Path, scene: Path, network: str, runs: int) -> list[dict[str, Any]]:
    rows = []
    for way, (fold, stride) in WAYS.items():
        scales = SCALES if fold else ()
        side = _side(root, scene, fold, stride, network, 2, scales)
        measured = [measure_clean(side) for _ in range(runs)]
        rate = spread([one.rate for one in measured])
        memory = spread([one.memory_mb for one in measured]).median
        print(f"{way}: {rate.median:.2f} Mpx/s ({rate.low:.2f}–{rate.high:.2f}), {memory:.0f} MB")
        rows.append({"what": way, "mpx_per_second": rate.median, "memory_mb": memory})
    return rows


def _side(
    root: Path,
    scene: Path,
    fold: str,
    stride: int,
    network: str,
    threads: int,
    scales: Sequence[float] = (),
) -> Side:
    output = root / "out"
    arguments = {
        "image": str(scene), "output": str(output), "fold": fold, "stride": stride,
        "network": network, "threads": threads, "batch": 1 if network == "convolution" else 4,
        "scales": list(scales),
    }  # fmt: skip
    return Side("builtup", HERE / "ours" / "cascade.py", arguments, scratch=output)


@contextmanager
def _scenes(root: Path, small: int, large: int) -> Iterator[tuple[Path, Path]]:
    """Speckle of two bands with a gap, and the same repeated to the large size."""
    if large % small:
        raise SystemExit(f"--large {large} is no multiple of --small {small}")
    try:
        one, many = root / "small.tif", root / "large.tif"
        generator = np.random.default_rng(0)
        profile = {
            "driver": "GTiff", "width": small, "height": small, "count": 2, "dtype": "float32",
            "crs": "EPSG:32638", "transform": rasterio.Affine(10, 0, 3e5, 0, -10, 4e6),
            "nodata": np.nan, "tiled": True, "blockxsize": 256, "blockysize": 256,
        }  # fmt: skip
        with gdal_env(), atomic_path(one) as draft, rasterio.open(draft, "w", **profile) as out:
            for band in (1, 2):
                values = generator.gamma(4.4, 0.02, (small, small)).astype(np.float32)
                values[: small // 8, : small // 4] = np.nan
                out.write(values, band)
        yield one, repeat_scene(one, many, large // small)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
