"""Draws docs/simulator_histograms.png, docs/simulator_wide.png and docs/simulator_scene.png.

Backscatter and texture of plain and wide simulated scenes beside all real ones
($BUILTUP_DATA/real_s1), what they look like, and one simulated scene with its truth.

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
from scipy import ndimage

from builtup.geo.grid import Grid
from builtup.sensors.radar.bands import invalid, to_db
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.radar.scenes import Scene
from builtup.simulate.dataset import simulate

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BUILTUP_DATA", ROOT / "../shared/data"))
REAL = {
    "SanFranciscoWest_1988": "San Francisco, L band",
    "Senica_2018": "Senica, villages and fields",
    "VegaBaja_2019": "Vega Baja, flooded farmland",
    "Beijing_2020": "Beijing, median of a year",
}
BINS = np.arange(-42, 14.25, 0.5)
#: Local deviation is drawn up to so many dB.
TEXTURE_BINS = np.arange(0, 8.1, 0.1)
WINDOWS = (3, 7, 15)
#: Simulated cities, and the seed: none of them was looked at while the ranges were chosen.
CITIES = {"plain": 6, "wide": 12}
SEED = 7
CREDIT = (
    "Real scenes contain modified Copernicus Sentinel data (2018–2020), through scially/raster-"
    "vision-tutorial, cloudtostreet/Sen1Floods11 and LllC-mmd/SHAFTS; San Francisco: "
    "AIRSAR, NASA/JPL; Beijing footprints © OpenStreetMap contributors (ODbL)."
)
POLARISATIONS = ("VV", "VH")
COLOURS = dict(
    zip(REAL.values(), ("tab:purple", "tab:green", "tab:orange", "tab:red"), strict=True)
)


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


def texture(image: Image, row: int, window: int) -> NDArray[np.float32]:
    """Local standard deviations (dB) of a band over windows wholly valid and above the floor."""
    db = image.db[row]
    mean = ndimage.uniform_filter(db, window)
    variance = ndimage.uniform_filter(db * db, window) - mean * mean
    known = ndimage.minimum_filter(image.valid & (db > -49), window)
    return np.sqrt(np.maximum(variance[known], 0))


def draw_histograms(real: dict[str, Image], simulated: dict[str, list[Image]], path: Path) -> None:
    figure, panels = plt.subplots(2, 5, figsize=(24, 9), layout="constrained")
    for row, name in enumerate(POLARISATIONS):
        whole, classes, *local = panels[row]
        draw_levels(whole, row, real, simulated)
        draw_classes(classes, row, real["Beijing, median of a year"], simulated)
        whole.set_title(f"{name}: all valid pixels")
        classes.set_title(f"{name}: where labels say built-up or not")
        for axes in (whole, classes):
            axes.set_xlabel("backscatter σ⁰ [dB]")
            axes.set_ylabel("share of pixels [% per dB]")
        for axes, window in zip(local, WINDOWS, strict=True):
            draw_texture(axes, row, window, real, simulated)
            axes.set_title(f"{name}: local deviation over {window} × {window} pixels")
        for axes in panels[row]:
            axes.legend(fontsize=7)
            axes.grid(alpha=0.3)
    figure.supxlabel(CREDIT, fontsize=8, color="0.35")
    figure.savefig(path, dpi=75)
    plt.close(figure)


STYLES = {"plain": {"color": "tab:blue"}, "wide": {"color": "k"}}


def draw_levels(
    axes: plt.Axes, row: int, real: dict[str, Image], simulated: dict[str, list[Image]]
) -> None:
    for image in simulated["wide"]:
        curve(axes, image.db[row][image.valid], "", color="0.8", lw=0.7)
    for kind, images in simulated.items():
        every = np.concatenate([image.db[row][image.valid] for image in images])
        curve(axes, every, f"simulated, {kind}", lw=2, **STYLES[kind])
    for title, image in real.items():
        curve(axes, image.db[row][image.valid], title, lw=1.3, color=COLOURS[title])


def draw_classes(
    axes: plt.Axes, row: int, beijing: Image, simulated: dict[str, list[Image]]
) -> None:
    for builtup, word, colour in ((True, "built-up", "tab:red"), (False, "other", "tab:blue")):
        known = beijing.valid & beijing.labelled & (beijing.builtup == builtup)
        curve(axes, beijing.db[row][known], f"Beijing, {word}", color=colour, lw=1.3)
        for kind, line in (("plain", ":"), ("wide", "--")):
            ours = [i.db[row][i.valid & (i.builtup == builtup)] for i in simulated[kind]]
            label = f"simulated {kind}, {word}"
            curve(axes, np.concatenate(ours), label, color=colour, lw=2, ls=line)


def draw_texture(
    axes: plt.Axes,
    row: int,
    window: int,
    real: dict[str, Image],
    simulated: dict[str, list[Image]],
) -> None:
    def spread(images: list[Image], label: str, **style: object) -> None:
        values = np.concatenate([texture(image, row, window) for image in images])
        counts, _ = np.histogram(values, TEXTURE_BINS)
        share = counts / max(values.size, 1) / 0.1 * 100
        axes.plot(TEXTURE_BINS[:-1] + 0.05, share, label=label, **style)

    for image in simulated["wide"]:
        spread([image], "", color="0.8", lw=0.7)
    for kind, images in simulated.items():
        spread(images, f"simulated, {kind}", lw=2, **STYLES[kind])
    for title, image in real.items():
        spread([image], title, lw=1.3, color=COLOURS[title])
    axes.set_xlabel("standard deviation [dB]")
    axes.set_ylabel("share of windows [% per dB]")


def draw_wide(real: dict[str, Image], wide: list[Image], path: Path) -> None:
    """VV and VH of real scenes beside wide cities, first date each, the same 400 pixels wide."""
    shown = {
        REAL[name].split(",")[0]: real[REAL[name]] for name in ("VegaBaja_2019", "Senica_2018")
    }
    shown |= {f"simulated {number}": image for number, image in enumerate(wide[::2][:6])}
    figure, panels = plt.subplots(2, len(shown), figsize=(24, 6.6), layout="constrained")
    for column, (title, image) in enumerate(shown.items()):
        for row, (low, high) in enumerate(((-22, 2), (-28, -6))):
            db = np.where(image.valid, image.db[row], np.nan)[:400, :400]
            axes = panels[row, column]
            axes.imshow(db, cmap="gray", vmin=low, vmax=high)
            axes.set_axis_off()
            axes.set_title(f"{title}, {POLARISATIONS[row]} {low} to {high} dB", fontsize=9)
    figure.supxlabel(CREDIT, fontsize=8, color="0.35")
    figure.savefig(path, dpi=72)
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
            cells.append(three(db[known], 1))
    return f"| {title} | " + " | ".join(cells) + " |"


def three(values: NDArray[np.float32], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in np.percentile(values, [10, 50, 90]))


def texture_table(title: str, images: list[Image]) -> str:
    cells = [
        three(np.concatenate([texture(image, row, window) for image in images]), 1)
        for row in (0, 1)
        for window in WINDOWS
    ]
    return f"| {title} | " + " | ".join(cells) + " |"


def joined(images: list[Image]) -> Image:
    return Image(
        tuple(np.concatenate([i.db[k].ravel() for i in images]) for k in (0, 1)),
        np.concatenate([i.valid.ravel() for i in images]),
        np.concatenate([i.builtup.ravel() for i in images]),
        np.concatenate([i.labelled.ravel() for i in images]),
    )


def main(folder: Path) -> None:
    simulated = {}
    for kind, count in CITIES.items():
        root = folder / kind
        simulate(output_path=root, cities=count, test_cities=0, size=512, seed=SEED, variety=kind)
        found = scenes_of_split(root / "train").scenes
        simulated[kind] = [load(root / "train", scene) for scene in found]
    real = {}
    for split in ("train", "test"):
        root = DATA / "real_s1" / split
        for scene in scenes_of_split(root).scenes:
            real[REAL[scene.folder]] = load(root, scene)
    draw_histograms(real, simulated, ROOT / "docs/simulator_histograms.png")
    draw_wide(real, simulated["wide"], ROOT / "docs/simulator_wide.png")
    whole = max(simulated["plain"], key=lambda i: (bool(i.valid.all()), i.builtup.mean()))
    draw_scene(whole, ROOT / "docs/simulator_scene.png")
    print("| 10 / 50 / 90 % [dB] | VV | VV built-up | VV other | VH | VH built-up | VH other |")
    print("|---|---|---|---|---|---|---|")
    for title, image in real.items():
        print(table(title, image))
    for kind, images in simulated.items():
        print(table(f"simulated, {kind}", joined(images)))
    windows = [f"{name} {window}" for name in POLARISATIONS for window in WINDOWS]
    print("\n| local deviation, 10 / 50 / 90 % [dB] | " + " | ".join(windows) + " |")
    print("|---" * (len(windows) + 1) + "|")
    for title, image in real.items():
        print(texture_table(title, [image]))
    for kind, images in simulated.items():
        print(texture_table(f"simulated, {kind}", images))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
