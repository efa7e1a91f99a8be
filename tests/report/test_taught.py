"""Tags and pseudo-labels beside the map that was learnt from them."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image

from aerial_data import CRS, NAMES, add_site, map_site, tile_layers
from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.windows import Window
from builtup.report.taught import UNKNOWN, TaughtScene, find_taught, taught_of
from builtup.report.write import report
from builtup.sensors.classes import Classes
from builtup.tiles.cut import write_list
from builtup.tiles.tags import CellTags, write_tags
from builtup.tiles.tile import read_list
from builtup.training.pseudo_record import PseudoRecord
from helpers import write_raster
from report_data import Contents

CLASSES = Classes.of(NAMES)
COLOUR = np.array(CLASSES.colours)


def tagged(root: Path, *cells: tuple[str, Window, tuple[float, ...]]) -> Path:
    """A folder of tags of scenes, as `weaken` writes it."""
    folder = root / "weak"
    write_list(folder / "images/tiles.csv", read_list(root / "tiles/images/tiles.csv"))
    own = [CellTags(f"{site}_scene", w, tags, f"{site}_{w.x}_{w.y}") for site, w, tags in cells]
    write_tags(folder / "tags.csv", own, NAMES)
    return folder


def labelled(root: Path, site: str, labels: NDArray[np.uint8]) -> Path:
    """A folder of pseudo-labels of a scene, as `pseudo_labels` writes it."""
    folder = root / "pseudo"
    with rasterio.open(root / f"masks/{site}/{site}_scene_mask.tif") as mask:
        own, tags = {"crs": mask.crs, "nodata": 255}, mask.tags()
        path = write_raster(folder / "masks" / site / "l.tif", labels, mask.transform, **own)
    with rasterio.open(path, "r+") as out:
        out.update_tags(**tags)
    tiles = [t for t in read_list(root / "tiles/images/tiles.csv") if t.city == site]
    write_list(folder / "masks/tiles.csv", [replace(tile, path=path) for tile in tiles])
    PseudoRecord(mode="tags", kept=0.5).write(folder)
    return folder


def pictures(page: Contents) -> dict[str, NDArray[np.uint8]]:
    """Those of what was taught, by their alternative texts' first word."""
    found = {}
    for image in page.of("img"):
        if "class" not in image and "tile" not in image["alt"]:
            data = base64.b64decode(image["src"].partition("base64,")[2])
            own = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
            found[image["alt"].split()[0].lower().strip(",")] = own
    return found


@pytest.mark.parametrize("crs", [CRS, None])
def test_tags_labels_and_map_stand_side_by_side(tmp_path: Path, crs: str | None) -> None:
    mask = add_site(tmp_path, "hill", crs=crs)
    tile_layers(tmp_path)
    maps = map_site(tmp_path, "hill_scene", mask)
    nothing = (np.nan,) * 3
    weak = tagged(
        tmp_path,
        ("hill", Window(0, 0, 48, 48), (1.0, 1.0, 0.0)),
        ("hill", Window(0, 48, 48, 48), (np.nan, 0.25, np.nan)),
        ("hill", Window(48, 0, 48, 48), (0.25, 0.25, 0.5)),
        ("hill", Window(48, 48, 48, 48), nothing),
    )
    labels = mask.copy()
    labels[:48] = 255
    pseudo = labelled(tmp_path, "hill", labels)

    images = str(tmp_path / "images")
    path = report(input_path=str(maps), images_path=images, labels_path=f"{weak};{pseudo}")

    page = Contents(path.read_text(encoding="utf-8"))
    shown = pictures(page)
    assert list(shown) == ["aerial", "tags", "pseudo-labels", "map"]
    tags = shown["tags"]
    assert (tags[10, [5, 40], :3] == COLOUR[[0, 1]]).all()  # two that occur, half each
    assert (tags[10, [50, 58], :3] == COLOUR[1]).all()  # a quarter, the rest is not known
    assert (tags[10, [62, 90], :3] == UNKNOWN).all()
    assert (tags[60, [10, 14, 30, 46], :3] == COLOUR[[0, 1, 2, 2]]).all()
    assert not tags[50:94, 50:94, 3].any() and not tags[:, 96:, 3].any()
    told = labels != 255
    assert (shown["pseudo-labels"][told, :3] == COLOUR[labels[told]]).all()
    assert (shown["pseudo-labels"][~told, :3] == UNKNOWN).all()
    assert (shown["map"][:40, :40, :3] == COLOUR[0]).all()
    assert shown["aerial"].shape == tags.shape
    assert "tags of 3 cells" in page.text
    assert f"pseudo-labels of {100 * told.mean():.0f} % of all pixels" in page.text
    assert str(weak) in page.text


def test_of_a_map_of_several_dates_the_one_of_which_most_is_known() -> None:
    grid = Grid(None, rasterio.Affine.identity(), 8, 8)
    cells = (CellTags("a", Window(0, 0, 8, 8), (1.0, 0.0)),)
    scenes = {
        "a": TaughtScene("a", "38SLF_Town", "20150101", "2015", grid, cells),
        "b": TaughtScene("b", "38SLF_Town", "20150201", "2015", grid, cells, Path("b.tif")),
        "c": TaughtScene("c", "38SLF_Town", "20160101", "2016", grid, cells, Path("c.tif")),
        "d": TaughtScene("d", "38SLF_Other", "20150101", "", grid, cells, Path("d.tif")),
    }
    assert taught_of(scenes, "38SLF_Town", "") is scenes["b"]
    assert taught_of(scenes, "38SLF_Town_2016", "2016") is scenes["c"]
    assert taught_of(scenes, "a", "") is scenes["a"]
    assert taught_of(scenes, "38SLF_Third", "") is None


def test_folders_of_nothing_or_of_other_ground_are_refused(tmp_path: Path) -> None:
    mask = add_site(tmp_path, "hill")
    add_site(tmp_path, "dale", seed=1)
    tile_layers(tmp_path)
    maps = map_site(tmp_path, "hill_scene", mask)
    with pytest.raises(InputError, match=r"neither pseudo\.json nor tags\.csv"):
        find_taught(str(tmp_path / "tiles"), CLASSES)
    with pytest.raises(InputError, match="no cell with tags"):
        find_taught(str(tagged(tmp_path)), CLASSES)
    for wrong, what in (
        (("hill", Window(0, 80, 40, 40), (1.0, 0.0, 0.0)), "reaches beyond its 112 x 96 pixels"),
        (("hill", Window(0, 5000, 40, 40), (1.0, 0.0, 0.0)), "reaches beyond"),
        (("moon", Window(0, 0, 40, 40), (1.0, 0.0, 0.0)), "the scene moon_scene is not among"),
    ):
        with pytest.raises(InputError, match=what):
            find_taught(str(tagged(tmp_path, wrong)), CLASSES)
    of_dale = labelled(tmp_path, "dale", mask)
    with pytest.raises(InputError, match="labels of ground, building, tree, and maps of a, b"):
        find_taught(str(of_dale), Classes.of(("a", "b")))
    with pytest.raises(InputError, match="tags and labels of no scene that is shown"):
        report(input_path=str(maps), labels_path=str(of_dale))
    assert not (maps / "report.html").exists()
    with pytest.raises(InputError, match="labels of dale_scene, of which another folder"):
        find_taught(f"{of_dale};{of_dale}", CLASSES)
    whole = tagged(tmp_path, ("dale", Window(0, 0, 40, 40), (1.0, 0.0, 0.0)))
    assert find_taught(f"{of_dale};{whole}", CLASSES)["dale_scene"].cells
    path = of_dale / "masks" / "dale" / "l.tif"
    write_raster(path, mask[:64], None, crs=None, nodata=255)
    with rasterio.open(path, "r+") as out:
        out.update_tags(**CLASSES.tags())
    with pytest.raises(InputError, match="dale_scene has other pixels in it"):
        find_taught(f"{of_dale};{whole}", CLASSES)
    with rasterio.open(path, "r+") as out:  # as of radar, whose masks have no tags of classes
        out.update_tags(BUILTUP_CLASSES="")
    with pytest.raises(InputError, match="labels of background, building, and maps of ground"):
        find_taught(str(of_dale), CLASSES)
