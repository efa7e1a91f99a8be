"""Draw maps of predictions for the documentation.

    python benchmarks/studies/real_scenes_pictures.py RUN_ID output/real/test/images_3b docs

For each city of an inference run: backscatter with the polygons, and the probability.
"""

from __future__ import annotations

import sys
from pathlib import Path

import fiona
import matplotlib
import numpy as np
import rasterio

from builtup.runs.results import city_rasters, resolve_results
from builtup.sensors.radar.bands import to_db
from builtup.sensors.scene_files import find_rasters

matplotlib.use("Agg")
from matplotlib import pyplot as plt

CREDIT = "Contains modified Copernicus Sentinel data"


def main() -> None:
    run_id, images, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    scenes = {file.city: file.path for file in find_rasters(images, "3b")}
    for rasters in city_rasters(resolve_results(run_id=run_id)):
        name = rasters.city.split("_", 1)[1].lower()
        draw(scenes[rasters.city], rasters.prob, rasters.mask.with_suffix(".gpkg"), name, folder)


def draw(image: Path, probability: Path, polygons: Path, name: str, folder: Path) -> None:
    with rasterio.open(image) as dataset:
        vh, vv = to_db(dataset.read(1)), to_db(dataset.read(2))
        inverse, (height, width) = ~dataset.transform, dataset.shape
    with rasterio.open(probability) as dataset:
        values = np.where(dataset.read(1) == 255, np.nan, dataset.read(1) / 254)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2 * height / width), sharey=True)
    left.imshow(np.dstack([stretch(vv), stretch(vh), stretch(vv - vh)]))
    with fiona.open(polygons) as source:
        for feature in source:
            geometry = feature.geometry
            parts = geometry.coordinates
            for part in parts if geometry.type == "MultiPolygon" else [parts]:
                for ring in part:
                    xy = np.array([inverse @ point[:2] for point in ring])
                    left.plot(*xy.T, color="#ff3030", linewidth=0.7)
    left.set_title("VV, VH, VV−VH in dB, with the polygons", fontsize=10)
    shown = right.imshow(values, vmin=0, vmax=1)
    right.set_title("probability of built-up", fontsize=10)
    figure.colorbar(shown, ax=right, fraction=0.04)
    left.set_ylabel("rows of 10 m")
    for axes in (left, right):
        axes.set(xlim=(0, width), ylim=(height, 0), xlabel="columns of 10 m")
    figure.text(0.99, 0.005, CREDIT, ha="right", fontsize=7)
    figure.tight_layout()
    figure.savefig(folder / f"{name}.png", dpi=100)


def stretch(band: np.ndarray) -> np.ndarray:
    low, high = np.nanpercentile(band, (2, 98))
    return np.nan_to_num(np.clip((band - low) / (high - low), 0, 1))


if __name__ == "__main__":
    main()
