"""Imports, pseudo-labels and weakened tiles, killed at random moments and run again: same bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

from aerial_data import NAMES, add_site
from builtup.geo.probability import NODATA
from builtup.jobs.steps import Summary
from builtup.maps.pseudo_labels import pseudo_labels
from builtup.runs.results import PredictionTags, write_tags
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.tiles.cut import generate_tiles
from builtup.tiles.tags import CellTags, cells_of
from builtup.tiles.tags import write_tags as write_cells
from builtup.tiles.weaken import weaken
from forks import processes_with
from helpers import write_raster
from kills import outputs, strike
from open_cities_data import houses, write_geojson, write_tier
from picture_data import PLACE, UTM, colours

KILLS = 5
SIZE = (400, 500)
BOXES = [(10, 10, 60, 50), (200, 120, 260, 180)]
SITES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    modules = ("sensors.optical.import_scenes", "maps.pseudo_labels", "tiles.weaken")
    with processes_with(*(f"builtup.{name}" for name in modules)) as context:
        yield context


def write_open_cities(root: Path) -> None:
    image = np.concatenate([colours(SIZE), np.full((1, *SIZE), 255, np.uint8)])
    scenes = (("acc", "a1"), ("acc", "a2"), ("kam", "k1"))
    write_tier(root, scenes=scenes, image=image, boxes=BOXES)


def write_spacenet(root: Path) -> None:
    for number, name in enumerate(SITES):
        image = colours(SIZE, number).astype(np.uint16) * 9
        write_raster(root / name / "image.tif", image, PLACE, UTM, photometric="RGB")
        write_geojson(root / name / "buildings.geojson", houses(BOXES))


def write_chips(root: Path) -> None:
    (root / "images").mkdir(parents=True)
    for number, name in enumerate(SITES):
        picture = Image.fromarray(np.moveaxis(colours(SIZE, number), 0, 2))
        picture.save(root / "images" / f"{name}.png")
        probable = np.random.default_rng(number).integers(0, 256, SIZE, dtype=np.uint8)
        Image.fromarray(probable).save(root / "images" / f"{name}_mask.png")


def same_bytes_after_kills(
    processes: Any, step: Callable[..., Summary], root: Path, options: dict[str, Any]
) -> dict[str, bytes]:
    """Run undisturbed, and killed and gone on with; what both leave."""
    step(output_path=root / "whole", num_workers=1, **options)
    started = time.monotonic()
    step(output_path=root / "again", num_workers=1, **options)
    longest = time.monotonic() - started
    expected = outputs(root / "whole")
    assert outputs(root / "again") == expected
    own = {"output_path": root / "hit", "num_workers": 1, **options}
    process_of = partial(processes.Process, target=step, kwargs=own)
    assert strike(process_of, longest, root / "hit", expected, KILLS) > 0
    step(**own)
    assert outputs(root / "hit") == expected
    assert step(**own).line().split(": ")[1].startswith("nothing to do")
    return expected


@pytest.mark.parametrize(
    ("layout", "write"),
    [("open_cities", write_open_cities), ("spacenet", write_spacenet), ("chips", write_chips)],
)
def test_a_killed_import_goes_on_to_the_same_bytes(
    layout: str, write: Callable[[Path], None], processes: Any, tmp_path: Path
) -> None:
    write(tmp_path / "raw")
    options = {"input_path": tmp_path / "raw", "layout": layout}
    made = same_bytes_after_kills(processes, import_scenes, tmp_path, options)
    assert sum(name.endswith("_image.tif") for name in made) == 3
    assert sum(name.endswith("_mask.tif") for name in made) == 3


def tile(root: Path, *layers: str, materialize: bool = False) -> None:
    for layer in layers:
        generate_tiles(
            input_path=root / layer, output_path=root / "tiles" / layer,
            tile_size=128, overlap=16, materialize=materialize, num_workers=1,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "classes"), [("soft", 2), ("soft", 3), ("tags", 3), ("hard", 2), ("negatives", 2)]
)
def test_killed_pseudo_labels_of_images_go_on_to_the_same_bytes(
    mode: str, classes: int, processes: Any, tmp_path: Path
) -> None:
    raw = tmp_path / "maps" / "raw"
    raw.mkdir(parents=True)
    for number, site in enumerate(SITES):
        height, width = add_site(tmp_path, site, seed=number, height=False, shape=SIZE).shape
        shares = np.random.default_rng(number).dirichlet((1.0,) * classes, (height, width))
        levels = np.moveaxis(np.round(254 * shares), 2, 0).astype(np.uint8)
        levels = levels[1:] if classes == 2 else levels
        if mode == "negatives":  # by presence heads nothing is there, nor by any pixel
            levels //= 10
        tags = PredictionTags(
            f"{site}_scene_{{}}", site, width, height, "m", 0.5, NAMES[:classes], sensor="rgb",
            presence=0.05,
        )  # fmt: skip
        size = {"count": len(levels), "width": width, "height": height, "dtype": "uint8"}
        path = raw / f"{site}_scene_prob.tif"
        with rasterio.open(path, "w", driver="GTiff", nodata=NODATA, **size) as out:
            out.write(levels)
            write_tags(out, tags.of_kind("scene"))
    tile(tmp_path, "images")
    cells = [
        CellTags(f"{site}_scene", window, (1, window.x % 100 > 0, 1), "shown")
        for site in SITES
        for window in cells_of(SIZE[1], SIZE[0], 50)
    ]
    write_cells(tmp_path / "tiles" / "tags.csv", cells, NAMES)
    options = {"input_path": str(tmp_path / "maps"), "tiles_path": tmp_path / "tiles"}
    options |= {"source": "scene", "mode": mode, "keep": 0.6}
    made = same_bytes_after_kills(processes, pseudo_labels, tmp_path, options)
    assert sum(name.endswith("_mask.tif") for name in made) == 3
    assert sum(name.endswith("_soft.tif") for name in made) == (3 if mode == "soft" else 0)


def test_killed_weakening_goes_on_to_the_same_bytes(processes: Any, tmp_path: Path) -> None:
    for number, site in enumerate(SITES):
        add_site(tmp_path, site, seed=number, shape=(140, 190))
    tile(tmp_path, "images", "masks", "height", materialize=True)
    options = {"input_path": tmp_path / "tiles", "cell": 50, "context": 7, "shares": "33;34;33"}
    made = same_bytes_after_kills(processes, weaken, tmp_path, options)
    assert sum(name.endswith("_mask.tif") for name in made) == 1
    shown = [name for name in made if "/tile_" in name]
    assert len(shown) == (2 * len(cells_of(190, 140, 50)))
