"""What heads, pretrained weights and zooms are worth for buildings from drones: docs/results.md.

    python benchmarks/open_cities.py [--part scenes|kampala|towns|shift|banepa|ensembles]
        [--seeds "0;1;2"] [--networks "…;…"] [--ways "…;…"] [--only "…;…"]

`scenes`: one of five real scenes is left out in turn (Banepa north and south, Kampala, Vegas and
SpaceNet-7: very different cameras and pixels). `kampala`: one quarter of Kampala is mapped by what
the other three teach. `towns`: simulated towns of three pixel sizes, others of them mapped. Every
network is mapped in several ways, and scored by the Jaccard index of buildings; the counts of all
scenes that were left out are pooled, too. `shift`, `banepa` and `ensembles` are of
`open_cities_students.py`, whose rows `--networks` names.

Data: $BUILTUP_DATA/imagery/open_cities and $BUILTUP_DATA/optical. What is trained and mapped
already is kept (`<output>/runs.json`): stop it and run it again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from aerial import spread
from new_ground import Records
from studies.commands import use_project_database

from builtup import train
from builtup.errors import BuiltupError
from builtup.geo.windows import Window
from builtup.jobs.files import atomic_path, write_text_atomically
from builtup.maps.validate_layer import LayerOptions, score_layer
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.runs.results import Results
from builtup.scoring.counts import iou
from builtup.scoring.tables import markdown
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.simulate.aerial.dataset import with_clean_labels
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats

CONFIG = "configs/train/open_cities/small_cpu.py"
NO_HEADS = "building_dice=0.0 presence_focal=0.0 scale_huber=0.0"
SCRATCH = "pretrained=False drop_connect=0.2"
#: What is trained: a name, a config and the settings that differ from it. One head is added after
#: the other, from scratch and with ImageNet's weights; then one thing is left out at a time.
NETWORKS: dict[str, tuple[str, str]] = {
    "U-Net, scratch": ("configs/train/open_cities/unet.py", NO_HEADS),
    "EfficientFPN, scratch": (CONFIG, f"{SCRATCH} {NO_HEADS}"),
    "+ building head": (CONFIG, f"{SCRATCH} presence_focal=0.0 scale_huber=0.0"),
    "+ presence head": (CONFIG, f"{SCRATCH} scale_huber=0.0"),
    "+ scale head": (CONFIG, SCRATCH),
    "Lite0 weights": (CONFIG, ""),
    "Lite0, no heads": (CONFIG, NO_HEADS),
    "Lite0, building head": (CONFIG, "presence_focal=0.0 scale_huber=0.0"),
    "Lite0, no scale head": (CONFIG, "scale_huber=0.0"),
    "Lite0, no zoom": (CONFIG, "pixel_size=None"),
    "Lite0, pixels as they are": (CONFIG, "pixel_size=None reference_pixel=None"),
}
#: How a scene is mapped: settings of `Recipe`.
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "D4": {"tta": "d4"},
    "scales": {"scales": (0.5, 1.0), "fold": "mean"},
    "D4, scales": {"tta": "d4", "scales": (0.5, 1.0), "fold": "mean"},
}
WINDOW = 256
#: Metres between what is learnt from and what is mapped where one scene is cut.
GAP = 10.0
#: Simulated towns: pixel sizes, towns of each to learn from and to map, pixels of a side.
PIXELS, TOWNS, TESTS, SIZE, SEED = ("0.1", "0.25", "0.5"), 4, 2, 768, 31
LAYERS = ("images", "masks")
#: Parts of open_cities_students.py.
MORE = ("shift", "banepa", "ensembles")
#: By network and way, seed and what is left out, the counts.
Table = dict[tuple[str, str], dict[int, dict[str, dict[str, Any]]]]
#: What is left out, by name.
Folds = list[str]


@dataclass(frozen=True)
class Part:
    """Ground that is left out: a fold's name, and a folder with its scenes alone."""

    fold: str
    scenes: Path


@dataclass(frozen=True)
class Ground:
    """Tiles to learn from, and what is left out of them in turn; without folds nothing is."""

    tiles: Path
    parts: tuple[Part, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=(*GROUNDS, *MORE), default="scenes")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--networks", default="", help="names, separated by ;")
    parser.add_argument("--ways", default="plain", help="names, separated by ;")
    parser.add_argument("--only", default="", help="parts of what is left out, separated by ;")
    parser.add_argument("--shift", default="sensor", help="of --part shift: sensor, style, …")
    parser.add_argument("--overrides", default="", help="settings of all trainings")
    parser.add_argument("--output", type=Path, default=Path("output/open_cities"))
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    arguments = parser.parse_args()
    use_project_database()
    out: Path = arguments.output
    seeds = [int(word) for word in arguments.seeds.split(";")]
    if arguments.part in MORE:
        table, folds = _more(arguments, seeds, out)
    else:
        table, folds = _left_out(arguments, seeds, out)
    text = markdown(rows_of(table, folds))
    print(text)
    if arguments.markdown:
        write_text_atomically(arguments.markdown, text + "\n")


def _more(arguments: argparse.Namespace, seeds: Sequence[int], out: Path) -> tuple[Table, Folds]:
    """The table of `open_cities_students.py`, and what is left out in it."""
    import open_cities_students as more

    records, ways = Records(out / "runs.json"), _chosen(WAYS, arguments.ways)
    unused = ["only"] if arguments.part != "ensembles" else ["only", "networks"]
    if given := [name for name in unused if getattr(arguments, name)]:
        sys.exit(f"error: --{given[0]}: has no meaning for --part {arguments.part}; leave it out")
    if arguments.part == "ensembles":
        table = more.ensembles_table(out, seeds, ways, arguments.overrides, records)
        return table, [f"towns_{pixel.replace('.', '')}" for pixel in PIXELS]
    ground = more.towns(out, arguments.shift) if arguments.part == "shift" else more.banepa(out)
    rows = list(_chosen({row: row for row in more.ROWS}, arguments.networks))
    table = more.students_table(ground, seeds, rows, ways, arguments.overrides, records)
    return table, [part.fold for part in ground.parts]


def _left_out(
    arguments: argparse.Namespace, seeds: Sequence[int], out: Path
) -> tuple[Table, Folds]:
    """The counts of all networks on what is left out in turn, and its names."""
    ground = GROUNDS[arguments.part](out)
    only = [word for word in arguments.only.split(";") if word]
    parts = [p for p in ground.parts if not only or any(word in p.fold for word in only)]
    records = Records(out / "runs.json")
    networks = _chosen(NETWORKS, arguments.networks)
    table: Table = {}
    for seed in seeds:
        for name, (config, settings) in networks.items():
            overrides = f"{settings} {arguments.overrides}".strip()
            for part in parts:
                trained = partial(_trained, ground, part, config, overrides, seed, records)
                for way, recipe in _chosen(WAYS, arguments.ways).items():
                    key = f"{part.scenes} | {name} | {overrides} | {way} | {seed}"
                    folder = out / "maps" / "".join(c if c.isalnum() else "_" for c in key)
                    made = partial(_mapped, trained, recipe, part, folder)
                    found = records(key, made)
                    table.setdefault((name, way), {}).setdefault(seed, {})[part.fold] = found
    return table, [part.fold for part in parts]


def _chosen(known: Mapping[str, Any], names: str) -> dict[str, Any]:
    wanted = [name for name in names.split(";") if name]
    if unknown := [name for name in wanted if name not in known]:
        sys.exit(f"error: {', '.join(unknown)}: unknown; known are {', '.join(known)}")
    return {name: known[name] for name in wanted or known}


# --- ground ---------------------------------------------------------------------------------------


def real_scenes(out: Path) -> Ground:
    """Five real scenes, of which Banepa's is cut in two."""
    imported = _imported(out)
    sites = {}
    height = _shape(imported["ban00n"])[0]
    gap = round(GAP / 0.13)
    sites["banepa_north"] = (imported["ban00n"], (0, height // 2 - gap), None)
    sites["banepa_south"] = (imported["ban00n"], (height // 2 + gap, height), None)
    for name, scene in (("kampala", "kam00a"), ("vegas", "vegas"), ("spacenet7", "0331E")):
        sites[name] = (next(v for k, v in imported.items() if scene in k), None, None)
    return _ground(out / "scenes", sites)


def kampala(out: Path) -> Ground:
    """Kampala in four quarters."""
    scene = _imported(out)["kam00a"]
    height, width = _shape(scene)
    gap = round(GAP / 0.075 / 2)
    rows = ((0, height // 2 - gap), (height // 2 + gap, height))
    columns = ((0, width // 2 - gap), (width // 2 + gap, width))
    sites = {f"kam_r{r}c{c}": (scene, rows[r], columns[c]) for r in range(2) for c in range(2)}
    return _ground(out / "kampala", sites)


def simulated_towns(out: Path) -> Ground:
    """Towns of several pixel sizes with noisy labels, and others with their clean truth."""
    common: dict[str, Any] = {"sensor": "aerial", "dates": 1, "size": SIZE, "num_workers": 2}
    learnt, mapped = out / "towns" / "learnt", []
    for number, pixel in enumerate(PIXELS):
        raw = out / "towns" / f"raw_{pixel}"
        simulate(
            output_path=raw, pixel=pixel, cities=TOWNS, test_cities=TESTS, seed=SEED + number,
            **common,
        )  # fmt: skip
        name = f"towns_{pixel.replace('.', '')}"
        _two_classes(raw, learnt, f"{name}_", "train;valid")
        _two_classes(with_clean_labels(raw, raw / "clean"), out / "towns" / name, "", "test")
        mapped.append(Part(name, out / "towns" / name))
    return Ground(_tiled(learnt), tuple(mapped))


def _two_classes(raw: Path, folder: Path, prefix: str, split: str) -> None:
    """Scenes of a split with masks of buildings and the rest."""
    scenes = raw / f"scenes_{split.replace(';', '_')}"
    links = str(raw.parent)  # of clean labels
    import_scenes(input_path=raw, output_path=scenes, split=split, allow=links, num_workers=2)
    for image in sorted(scenes.glob("images/*/*.tif")):
        mask = scenes / "masks" / image.parent.name / image.name.replace("_image", "_mask")
        site = f"{prefix}{image.parent.name}"
        _cut(image, folder, site, f"{site}_image.tif", "images", None, None)
        _cut(mask, folder, site, f"{site}_mask.tif", "masks", None, None, building=0)


def _imported(out: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask of each real scene, by its name."""
    data = Path(os.environ.get("BUILTUP_DATA", "../shared/data"))
    found = {}
    for layout, source in (
        ("open_cities", data / "imagery" / "open_cities" / "train_tier_1"),
        ("spacenet", data / "optical"),
    ):
        if not source.is_dir():
            sys.exit(f"error: {source}: no such folder; set BUILTUP_DATA")
        scenes = out / "imported" / layout
        import_scenes(input_path=source, output_path=scenes, layout=layout, num_workers=1)
        for image in sorted(scenes.glob("images/*/*.tif")):
            mask = scenes / "masks" / image.parent.name / image.name.replace("_image", "_mask")
            found[image.stem.removesuffix("_image")] = (image, mask)
    return found


def _shape(scene: tuple[Path, Path]) -> tuple[int, int]:
    with rasterio.open(scene[0]) as dataset:
        return dataset.shape


Range = tuple[int, int] | None


def _ground(folder: Path, sites: Mapping[str, tuple[tuple[Path, Path], Range, Range]]) -> Ground:
    """Sites cut out of scenes: all of them to learn from, each in a folder of its own to map."""
    parts = []
    for site, (scene, rows, columns) in sites.items():
        for place in (folder / "all", folder / site):
            for path, layer in zip(scene, LAYERS, strict=True):
                name = f"{site}_{layer.removesuffix('s')}.tif"
                _cut(path, place, site, name, layer, rows, columns)
        parts.append(Part(site, folder / site))
    return Ground(_tiled(folder / "all"), tuple(parts))


def _cut(
    source: Path,
    folder: Path,
    site: str,
    name: str,
    layer: str,
    rows: Range,
    columns: Range,
    building: int | None = None,
) -> None:
    """Rows and columns of a raster as one of its own, with its tags; `building` is the number of
    that class in a mask that shall have two."""
    target = folder / layer / site / name
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(source) as dataset:
        (top, bottom), (left, right) = rows or (0, dataset.height), columns or (0, dataset.width)
        window = Window(top, left, bottom - top, right - left)
        values = dataset.read(window=window.rasterio)
        tags = dataset.tags()
        if building is not None:
            values = np.where(values == 255, 255, values == building).astype(np.uint8)
            tags = {"BUILTUP_CLASSES": "background,building", "BUILTUP_SENSOR": "rgb"}
        profile = dataset.profile | {
            "height": window.height,
            "width": window.width,
            "transform": dataset.window_transform(window.rasterio),
        }
        with atomic_path(target) as temporary, rasterio.open(temporary, "w", **profile) as out:
            out.write(values)
            out.update_tags(**{k: v for k, v in tags.items() if k.startswith("BUILTUP_")})


def _tiled(scenes: Path) -> Path:
    tiles = scenes / "tiles"
    for layer in LAYERS:
        generate_tiles(
            input_path=scenes / layer,
            output_path=tiles / layer,
            tile_size=512,
            overlap=0,
            materialize=False,
            num_workers=1,
        )
    generate_tiles_stats(input_path=tiles, output_path=tiles, num_workers=1)
    return tiles


GROUNDS: Mapping[str, Callable[[Path], Ground]] = {
    "scenes": real_scenes,
    "kampala": kampala,
    "towns": simulated_towns,
}

# --- networks and maps ----------------------------------------------------------------------------


def _trained(
    ground: Ground, part: Part, config: str, overrides: str, seed: int, records: Records
) -> str:
    """The run of a network that never saw the part; of simulated towns one for all parts."""
    fold = "None" if part.fold.startswith("towns") else part.fold
    own = f"seed={seed} validate=False val_fold={fold} data_path='{ground.tiles}'"

    def made() -> dict[str, Any]:
        started = time.monotonic()
        run = train(config, f"{overrides} {own}")
        return {"run": run.run_id, "seconds": time.monotonic() - started}

    key = f"training | {ground.tiles} | {fold} | {config} | {overrides} | {seed}"
    return str(records(key, made)["run"])


def _mapped(
    network: Callable[[], str], way: Mapping[str, Any], part: Part, folder: Path
) -> dict[str, Any]:
    """Map the part with `predict`, anew, cut at 0.5; the confusion matrix of its pixels."""
    recipe = Recipe(model=network(), window=WINDOW, adapt="none", threshold="0.5", **way)
    shutil.rmtree(folder, ignore_errors=True)
    started = time.monotonic()
    images = str(part.scenes / "images")
    predict(recipe, PredictOptions(images, output_path=str(folder), num_workers=1))
    seconds = time.monotonic() - started
    scores = score_layer(Results(folder), part.scenes, LayerOptions("masks"))
    return {"matrix": scores.full.matrix.tolist(), "seconds": seconds}


# --- the table ------------------------------------------------------------------------------------


def rows_of(table: Table, folds: Sequence[str]) -> list[list[str]]:
    """A row a network and way: the Jaccard index of buildings on each part, and of all pooled."""
    rows = [["network", "mapped by", *folds, "pooled", "Mpx/s"]]
    for (network, way), seeds in table.items():
        cells = [spread([_jaccard([of[fold]]) for of in seeds.values()]) for fold in folds]
        pooled = spread([_jaccard(of.values()) for of in seeds.values()])
        found = [of for parts in seeds.values() for of in parts.values()]
        pixels = sum(np.sum(of["matrix"]) for of in found) / 1e6
        rows.append(
            [network, way, *cells, pooled, f"{pixels / sum(o['seconds'] for o in found):.2f}"]
        )
    return rows


def _jaccard(found: Iterable[Mapping[str, Any]]) -> float:
    (rest, false), (missed, hit) = np.sum([of["matrix"] for of in found], axis=0)
    return float(iou(np.array([hit, false, missed, rest])))


if __name__ == "__main__":
    try:
        main()
    except BuiltupError as e:
        sys.exit(f"error: {e}")
