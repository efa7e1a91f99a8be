"""Draws docs/simulator_aerial.png and says where simulated orthomosaics differ from real ones.

    python benchmarks/studies/simulator_aerial.py [folder of simulated data]

Simulates nine cities and one of each shift (1024 px of 25 cm, seed 7) where the folder does not
hold them yet, draws some of them, and prints levels, texture and shares of classes beside those of
$BUILTUP_DATA/imagery/aerial at the same pixel size, and what a random forest a pixel makes of
colours, of raw elevation and of height above local ground. The real scenes may not be handed on:
the picture with them goes to output/simulator_aerial_beside_real.png.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from scipy import ndimage

from builtup.simulate.aerial.dataset import COLOURS
from builtup.simulate.aerial.surface import CLASSES
from builtup.simulate.dataset import simulate

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("BUILTUP_DATA", ROOT / "../shared/data")) / "imagery" / "aerial"
REAL = {"ec09W": 0.1, "ec09E": 0.1, "dole1": 0.2, "dole2": 0.2}
PIXEL, SEED, CROP = 0.25, 7, 400
SHIFTS = ("style", "climate", "season", "sensor")
WINDOWS = (3, 7, 15)
#: A scene's local ground: this quantile of the surface within this many metres.
GROUND, WITHIN = 15, 124

warnings.simplefilter("ignore", NotGeoreferencedWarning)


@dataclass(frozen=True)
class Picture:
    """Colours (3, H, W), valid pixels, classes (255: not labelled), and metres or None."""

    colours: NDArray[np.float32]
    valid: NDArray[np.bool_]
    kind: NDArray[np.uint8]
    elevation: NDArray[np.float32] | None


def classes_of(path: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        rgb = dataset.read([1, 2, 3], out_shape=(3, *shape), resampling=Resampling.nearest)
    found = [(rgb == np.array(colour)[:, None, None]).all(0) for colour in COLOURS]
    return np.select(found, range(len(COLOURS)), 255).astype(np.uint8)


def read(root: Path, name: str, pixel: float, labels: str = "labels") -> Picture:
    """A scene at PIXEL."""
    with rasterio.open(root / f"images/{name}-ortho.tif") as dataset:
        shape = round(dataset.height * pixel / PIXEL), round(dataset.width * pixel / PIXEL)
        colours = dataset.read([1, 2, 3], out_shape=(3, *shape), resampling=Resampling.average)
        valid = colours.any(axis=0)
        if dataset.count == 4:
            valid = dataset.read(4, out_shape=shape, resampling=Resampling.nearest) > 0
    kind = classes_of(root / f"{labels}/{name}-label.png", shape)
    elevation, path = None, root / f"elevations/{name}-elev.tif"
    if path.exists():
        with rasterio.open(path) as dataset:
            values = dataset.read(1, out_shape=shape, masked=True, resampling=Resampling.bilinear)
        elevation = values.filled(np.nan).astype(np.float32)
    return Picture(colours.astype(np.float32), valid, kind, elevation)


def simulated(folder: Path) -> dict[str, list[str]]:
    """Folders of simulated scenes, and the scenes in each."""
    how: dict[str, Any] = {"sensor": "aerial", "seed": SEED, "size": 1024, "num_workers": 2}
    simulate(output_path=folder / "plain", cities=6, test_cities=3, dates=2, **how)
    for shift in SHIFTS:
        simulate(output_path=folder / shift, cities=0, test_cities=1, dates=1, shift=shift, **how)
    names = {}
    for kind in ("plain", *SHIFTS):
        rows = (folder / kind / "index.csv").read_text().splitlines()[1:]
        names[kind] = [row.split()[1] for row in rows]
    return names


def statistics(pictures: list[Picture]) -> str:
    """Quantiles of the brightness, its local deviation, saturation, and shares of classes."""
    bright = [p.colours.mean(0) for p in pictures]
    levels = np.concatenate([b[p.valid] for b, p in zip(bright, pictures, strict=True)])
    spread = np.concatenate([np.ptp(p.colours, axis=0)[p.valid] for p in pictures])
    cells = ["/".join(f"{q:.0f}" for q in np.quantile(levels, (0.1, 0.5, 0.9)))]
    cells.append("/".join(f"{q:.0f}" for q in np.quantile(spread, (0.1, 0.5, 0.9))))
    for side in WINDOWS:
        found = []
        for grey, picture in zip(bright, pictures, strict=True):
            mean = ndimage.uniform_filter(grey, side)
            square = ndimage.uniform_filter(grey * grey, side)
            inside = ndimage.binary_erosion(picture.valid, iterations=side // 2)
            found.append(np.sqrt(np.maximum(square - mean * mean, 0))[inside])
        cells.append(
            "/".join(f"{q:.1f}" for q in np.quantile(np.concatenate(found), (0.1, 0.5, 0.9)))
        )
    kinds = np.concatenate([p.kind[p.kind < 255] for p in pictures])
    shares = np.bincount(kinds, minlength=len(CLASSES)) / len(kinds)
    return " | ".join([*cells, *(f"{100 * share:.1f}" for share in shares)])


def height_of(elevation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Metres above local ground."""
    filled = np.where(np.isnan(elevation), np.nanmedian(elevation), elevation)
    step = 16
    coarse = filled[::step, ::step]
    ground = ndimage.percentile_filter(coarse, GROUND, int(WITHIN / PIXEL / step) | 1)
    ground = ndimage.zoom(ndimage.gaussian_filter(ground, 6), step, order=1, grid_mode=True,
                          mode="nearest")  # fmt: skip
    return filled - ground[: filled.shape[0], : filled.shape[1]]


def separability(folder: Path) -> list[str]:
    """Rows of a table: building IoU and mIoU of a forest a pixel, on cities it never saw."""
    from sklearn.ensemble import RandomForestClassifier

    rng, rows = np.random.default_rng(0), []
    splits = {s: (folder / f"{s}.txt").read_text().split() for s in ("train", "test")}
    train = [read(folder, name, PIXEL) for name in splits["train"]]
    test = [read(folder, name, PIXEL, "truth") for name in splits["test"]]
    for title, which in (("colours", "c"), ("colours, raw elevation", "cr"), ("height", "h"),
                         ("colours, height", "ch")):  # fmt: skip

        def sample(p: Picture, count: int, which: str = which) -> tuple[Any, Any]:
            known = np.flatnonzero((p.kind < 255) & p.valid)
            at = rng.choice(known, min(count, len(known)), replace=False)
            assert p.elevation is not None
            bands = list(p.colours) if "c" in which else []
            bands += [np.nan_to_num(p.elevation)] if "r" in which else []
            bands += [height_of(p.elevation)] if "h" in which else []
            return np.stack([b.ravel()[at] for b in bands], 1), p.kind.ravel()[at]

        samples = [sample(p, 8000) for p in train]
        x, y = (np.concatenate([s[i] for s in samples]) for i in (0, 1))
        forest = RandomForestClassifier(60, min_samples_leaf=20, n_jobs=2, random_state=0)
        forest.fit(x, y)
        counts = np.zeros((len(CLASSES),) * 2)
        for picture in test:
            x, y = sample(picture, 40_000)
            np.add.at(counts, (y, forest.predict(x)), 1)
        hit = np.diag(counts)
        iou = hit / np.maximum(counts.sum(0) + counts.sum(1) - hit, 1)
        rows.append(f"| {title} | {iou[0]:.3f} | {iou.mean():.3f} |")
    return rows


def panel(picture: Picture) -> NDArray[np.uint8]:
    """A square of the picture, its classes and its surface model, side by side."""
    rows, columns = (min(CROP, n) for n in picture.valid.shape)
    built = ndimage.uniform_filter((picture.kind == 0).astype(np.float32), (rows, columns))
    built *= ndimage.uniform_filter(picture.valid.astype(np.float32), (rows, columns)) > 0.97
    half = rows // 2, columns // 2
    inner = built[half[0] : built.shape[0] - half[0] + 1, half[1] : built.shape[1] - half[1] + 1]
    top, left = np.unravel_index(int(inner.argmax()), inner.shape)
    part = (slice(top, top + rows), slice(left, left + columns))
    table = np.full((256, 3), (255, 0, 255), np.uint8)
    table[: len(COLOURS)] = COLOURS
    tiles = [picture.colours[(slice(None), *part)].transpose(1, 2, 0).astype(np.uint8)]
    tiles.append(table[picture.kind[part]])
    grey = np.zeros((rows, columns, 3), np.uint8)
    if picture.elevation is not None:
        metres = picture.elevation[part]
        low, high = np.nanquantile(metres, (0.005, 0.995))
        grey[:] = np.nan_to_num(255 * np.clip((metres - low) / (high - low), 0, 1))[..., None]
    tiles.append(grey)
    pads = ((0, CROP + 6 - rows), (0, CROP + 6 - columns), (0, 0))
    return np.concatenate([np.pad(t, pads, constant_values=255) for t in tiles], axis=1)


def save(path: Path, panels: list[NDArray[np.uint8]]) -> None:
    from PIL import Image

    left, right = panels[::2], panels[1::2]
    both = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=False)]
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.concatenate(both))
    picture = picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), 1)
    picture.quantize(256).save(path, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "output" / "simulator_aerial"
    names = simulated(folder)
    kinds = {k: [read(folder / k, n, PIXEL, "truth") for n in names[k]] for k in names}
    drawn = [panel(p) for p in kinds["plain"][:8:2]] + [panel(kinds[k][0]) for k in SHIFTS]
    save(ROOT / "docs" / "simulator_aerial.png", drawn)
    titles = " | ".join(f"local {w}" for w in WINDOWS) + " | " + " | ".join(CLASSES)
    print(f"| 10/50/90 % | brightness | max − min | {titles} |")
    real = [(n, read(DATA, n, pixel)) for n, pixel in REAL.items() if DATA.is_dir()]
    rows = {name: [picture] for name, picture in real} | kinds
    for name, pictures in rows.items():
        print(f"| {name} | {statistics(pictures)} |")
    print("\n| forest a pixel | building IoU | mIoU |")
    print("\n".join(separability(folder / "plain")))
    if real:
        pairs = zip((p for _, p in real), kinds["plain"][: len(real)], strict=True)
        beside = [panel(p) for pair in pairs for p in pair]
        save(ROOT / "output" / "simulator_aerial_beside_real.png", beside)
    else:
        print(f"{DATA}: not there; set BUILTUP_DATA for the real scenes")


if __name__ == "__main__":
    main()
