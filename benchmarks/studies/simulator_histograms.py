"""Draws docs/simulator_histograms.png and docs/simulator_scene.png.

Simulated backscatter beside that of real scenes ($BUILTUP_DATA/real_s1), and one simulated scene.

    python benchmarks/studies/simulator_histograms.py [folder of simulated data]
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyogrio
import pyproj
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray

from builtup.geo.grid import Grid
from builtup.sensors.radar.bands import invalid, to_db
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.radar.scenes import Scene
from builtup.simulate.dataset import simulate

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BUILTUP_DATA", ROOT / "../shared/data"))
REAL = {
    "Senica_2018": "Senica, villages and fields",
    "VegaBaja_2019": "Vega Baja, flooded farmland",
    "Beijing_2020": "Beijing, median of a year",
}
BINS = np.arange(-36, 14.25, 0.5)
CREDIT = (
    "Real scenes contain modified Copernicus Sentinel data (2018–2020), through scially/raster-"
    "vision-tutorial, cloudtostreet/Sen1Floods11 and LllC-mmd/SHAFTS; Beijing footprints "
    "© OpenStreetMap contributors (ODbL)."
)
POLARISATIONS = ("VV", "VH")


@dataclass(frozen=True)
class Image:
    """dB of VV and VH, valid pixels, built-up (None: unlabelled) and labelled pixels."""

    db: tuple[NDArray[np.float32], NDArray[np.float32]]
    valid: NDArray[np.bool_]
    builtup: NDArray[np.bool_] | None
    labelled: NDArray[np.bool_]


def burn(shapefile: Path, grid: Grid) -> NDArray[np.bool_]:
    meta, _, wkb, _ = pyogrio.raw.read(shapefile)
    transformer = pyproj.Transformer.from_crs(meta["crs"], grid.crs.to_epsg(), always_xy=True)
    polygons = shapely.transform(
        shapely.from_wkb(wkb), lambda p: np.stack(transformer.transform(p[:, 0], p[:, 1]), axis=1)
    )
    return rasterio.features.rasterize(
        polygons, grid.shape, transform=grid.transform, all_touched=True
    ).astype(bool)


def load(root: Path, scene: Scene) -> Image:
    vv, vh = scene.files
    with rasterio.open(vv) as vv_file, rasterio.open(vh) as vh_file:
        vv, vh, grid = vv_file.read(1), vh_file.read(1), Grid.of(vv_file)
    folder = root / scene.folder
    shapefile = folder / f"{scene.city_key}.shp"
    area = folder / f"{scene.city_key}_labelled_area.shp"
    builtup = burn(shapefile, grid) if shapefile.exists() else None
    labelled = burn(area, grid) if area.exists() else np.ones(grid.shape, bool)
    return Image((to_db(vv), to_db(vh)), ~invalid(vh, vv), builtup, labelled)


def curve(axes: plt.Axes, values: NDArray[np.float32], label: str, **style: object) -> None:
    counts, _ = np.histogram(values, BINS)
    share = counts / max(values.size, 1) / 0.5 * 100
    axes.plot(BINS[:-1] + 0.25, share, label=label, **style)


def draw_histograms(real: dict[str, Image], simulated: list[Image], path: Path) -> None:
    figure, panels = plt.subplots(2, 2, figsize=(13, 9), sharex=True, layout="constrained")
    for row, name in enumerate(POLARISATIONS):
        whole, classes = panels[row]
        for title, image in real.items():
            curve(whole, image.db[row][image.valid], title, lw=1.3)
        every = [image.db[row][image.valid] for image in simulated]
        for values in every:
            curve(whole, values, "", color="0.8", lw=0.7)
        curve(whole, np.concatenate(every), "simulated, all (grey: each scene)", color="k", lw=2)
        beijing = real[REAL["Beijing_2020"]]
        for builtup, word, colour in ((True, "built-up", "tab:red"), (False, "other", "tab:blue")):
            known = beijing.valid & beijing.labelled & (beijing.builtup == builtup)
            curve(classes, beijing.db[row][known], f"Beijing, {word}", color=colour, lw=1.3)
            ours = [i.db[row][i.valid & (i.builtup == builtup)] for i in simulated]
            label = f"simulated, {word}"
            curve(classes, np.concatenate(ours), label, color=colour, lw=2, ls="--")
        whole.set_title(f"{name}: all valid pixels")
        classes.set_title(f"{name}: where labels say built-up or not")
        for axes in (whole, classes):
            axes.set_xlabel("backscatter σ⁰ [dB]")
            axes.set_ylabel("share of pixels [% per dB]")
            axes.legend(fontsize=8)
            axes.grid(alpha=0.3)
    figure.supxlabel(CREDIT, fontsize=7, color="0.35")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_scene(image: Image, path: Path) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(15, 4.9), layout="constrained")
    ranges = {"VV": (-22, 2), "VH": (-28, -6)}
    for axes, name, db in zip(panels, ranges, image.db, strict=False):
        low, high = ranges[name]
        shown = np.where(image.valid, db, np.nan)
        picture = axes.imshow(shown, cmap="gray", vmin=low, vmax=high)
        figure.colorbar(picture, ax=axes, shrink=0.8, label="σ⁰ [dB]")
        axes.set_title(f"simulated {name} (no-data white)")
    panels[2].imshow(image.builtup, cmap="gray_r", interpolation="nearest")
    panels[2].set_title("built-up area (black)")
    for axes in panels:
        axes.set_xlabel("column [10 m]")
    panels[0].set_ylabel("row [10 m]")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def table(title: str, image: Image) -> str:
    cells = []
    for db in image.db:
        for builtup in (None, True, False):
            known = image.valid & image.labelled
            if builtup is not None:
                if image.builtup is None:
                    cells.append("–")
                    continue
                known &= image.builtup == builtup
            part = np.percentile(db[known], [10, 50, 90])
            cells.append(" / ".join(f"{value:.1f}" for value in part))
    return f"| {title} | " + " | ".join(cells) + " |"


def main(folder: Path) -> None:
    if not (folder / "train").exists():
        simulate(output_path=folder, cities=6, test_cities=0, size=768)
    simulated = [load(folder / "train", s) for s in scenes_of_split(folder / "train").scenes]
    real = {}
    for split in ("train", "test"):
        root = DATA / "real_s1" / split
        for scene in scenes_of_split(root).scenes:
            if scene.folder in REAL:
                real[REAL[scene.folder]] = load(root, scene)
    draw_histograms(real, simulated, ROOT / "docs/simulator_histograms.png")
    whole = max(simulated, key=lambda i: (bool(i.valid.all()), i.builtup.mean()))
    draw_scene(whole, ROOT / "docs/simulator_scene.png")
    print("| 10 / 50 / 90 % [dB] | VV | VV built-up | VV other | VH | VH built-up | VH other |")
    print("|---|---|---|---|---|---|---|")
    for title, image in real.items():
        print(table(title, image))
    joined = Image(
        tuple(np.concatenate([i.db[k].ravel() for i in simulated]) for k in (0, 1)),
        np.concatenate([i.valid.ravel() for i in simulated]),
        np.concatenate([i.builtup.ravel() for i in simulated]),
        np.concatenate([i.labelled.ravel() for i in simulated]),
    )
    print(table("simulated", joined))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
