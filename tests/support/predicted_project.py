"""Two radar cities and trained networks for the tests of `predict`, and how these call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from builtup.jobs.steps import Summary
from helpers import speckle, write_scene
from tiny_model import SINGLE_PIXELS, SMALL_UNET, map_scenes, write_trained

SIZE = (120, 150)
CUT: dict[str, Any] = {"window": 64, "overlap": 16, "batch_size": 3, "device": "cpu"}


def write_project(root: Path) -> Path:
    """Two cities, three dates in all, with towns and gaps; trained networks."""
    for city, tile, date in (
        ("Alpha_2015", "38SLF", "20150101"),
        ("Alpha_2015", "38SLF", "20150113"),
        ("Beta_2015", "38SMB", "20150102"),
    ):
        vv, vh = speckle(SIZE, 0.1, int(date)), speckle(SIZE, 0.02, int(date) + 1)
        vv[40:80, 50:100] *= 8
        vh[40:80, 50:100] *= 8
        vv[:10, : int(date[-2:])] = np.nan
        write_scene(root / "test", city, tile, date, vv=vv, vh=vh)
    write_trained(root / "trained")
    write_trained(root / "pixels", SINGLE_PIXELS)
    write_trained(root / "normalised", SMALL_UNET)
    return root


def run(root: Path, output: Path, **options: Any) -> list[Summary]:
    settings = {"model": str(root / "trained"), "input_path": str(root / "test"), **CUT}
    return map_scenes(**{**settings, "output_path": str(output), "num_workers": 1, **options})


def rasters(folder: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((folder / "raw").glob("*.tif")):
        if "quicklook" in path.stem:
            continue
        with rasterio.open(path) as dataset:
            found[path.name] = dataset.read()
    return found
