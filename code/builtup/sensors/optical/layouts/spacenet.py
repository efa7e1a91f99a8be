"""The layouts of the SpaceNet data sets of buildings: pictures, and polygons as GeoJSON.

- SpaceNet 1, 2, 3, 6: `PS-RGB/<name>_PS-RGB_img1.tif` with `geojson_buildings/<name>_geojson_
  buildings_img1.geojson`, or, as they were first published, `RGB-PanSharpen/RGB-PanSharpen_<AOI>_
  img1.tif` with `geojson/buildings/buildings_<AOI>_img1.geojson`;
- SpaceNet 7: `<site>/images_masked/<name>.tif` with `<site>/labels/<name>_Buildings.geojson` or
  `labels_match/`; else `labels_match_pix/`, whose coordinates are pixels;
- one scene a folder: `<scene>/image.tif` with `<scene>/buildings.geojson`.

The folders may lie anywhere below the one that is given. Files without a polygon are scenes known
to be empty, as these data sets mean them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from builtup.errors import InputError
from builtup.geo.locations import Allow
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.optical.raw_scenes import (
    PIXELS,
    POLYGONS,
    Found,
    Layout,
    RawScene,
    files_below,
    plain_name,
    with_splits,
)
from builtup.sensors.radar.names import date_in
from builtup.sensors.remarks import Remark

__all__ = ["LAYOUT", "find"]

#: Folders of pictures in three colours, the better ones first: of those with the same parent only
#: the first is read.
IMAGES = ("images_masked", "PS-RGB", "RGB-PanSharpen", "3band", "images")
#: Folders of polygons, the better ones first.
LABELS = ("geojson_buildings", "buildings", "labels", "labels_match", "labels_match_pix", "geojson")
_IN_PIXELS = "labels_match_pix"
#: What names say of the product, and not of the scene.
_PRODUCT = re.compile(
    r"(^|_)(PS-RGB|RGB-PanSharpen|3band|geojson_buildings|Geo|Buildings)(?=_|$)|^buildings(?=_)"
)
_AOI = re.compile(r"AOI_\d+_[A-Za-z]+")
_MONTH = re.compile(r"(?<!\d)(20\d{2})_(0[1-9]|1[0-2])(?!\d)")
_PICTURES = (".tif", ".tiff")
_SPLITS = ("train", "test", "test_public")


def find(root: Path) -> Found:
    """The scenes of a folder. Raises InputError where there are none."""
    found = Found()
    images, labels = {}, {}
    for path in files_below(root, (*_PICTURES, ".geojson"), found):
        if path.suffix.lower() == ".geojson":
            labels[path] = _label_folder(path, root)
        else:
            images[path] = _image_folder(path, root)
    pictures = _best(images, IMAGES, root, found)
    polygons = _by_scene(labels, root, found)
    for path, folder in sorted(pictures.items()):
        try:
            found.scenes.append(_scene(path, folder, polygons, root, found))
        except InputError as e:
            found.problems.append(e)
    _say_strangers(images, polygons, root, found)
    if not found.scenes and not found.problems:
        remedy = "give a folder with PS-RGB/ and geojson_buildings/, or image.tif and its polygons"
        raise InputError(root, "no SpaceNet pictures in it", remedy)
    with_splits(root, found)
    return found


def _image_folder(path: Path, root: Path) -> Path | None:
    """The folder that a picture's labels are looked for in: that above `PS-RGB`, or its own; None
    for another raster."""
    if path.name.lower() in {"image.tif", "image.tiff"}:
        return path.parent
    return path.parent.parent if path.parent.name in IMAGES and path.parent != root else None


def _label_folder(path: Path, root: Path) -> Path | None:
    if path.name.lower() == "buildings.geojson":
        return path.parent
    folder = path.parent
    if folder.name not in LABELS or folder == root:
        return None
    return folder.parent.parent if folder.parent.name == "geojson" else folder.parent


def _best(
    images: Mapping[Path, Path | None], order: Iterable[str], root: Path, found: Found
) -> dict[Path, Path]:
    """The pictures of the best folder of each place; the others are passed over, and named."""
    rank = {name: i for i, name in enumerate(order)}
    best: dict[Path, int] = {}
    for path, folder in images.items():
        if folder is not None:
            best[folder] = min(best.get(folder, len(rank)), rank.get(path.parent.name, -1))
    chosen = {}
    for path, folder in images.items():
        if folder is None:
            continue
        if rank.get(path.parent.name, -1) == best[folder]:
            chosen[path] = folder
        else:
            what = "passed over: a better folder of the same pictures lies beside it"
            found.remarks.append(Remark(str(path.relative_to(root)), what, doubtful=False))
    return chosen


def _by_scene(
    labels: Mapping[Path, Path | None], root: Path, found: Found
) -> dict[tuple[Path, str], Path]:
    """The polygons of each scene, by its folder and plain name: those of the best folder."""
    rank = {name: i for i, name in enumerate(LABELS)}
    chosen: dict[tuple[Path, str], Path] = {}
    for path, folder in sorted(labels.items(), key=lambda of: rank.get(of[0].parent.name, -1)):
        if folder is None or path.stem.endswith("_UDM"):
            what = "passed over, by its place or name no polygons of buildings"
            found.remarks.append(Remark(str(path.relative_to(root)), what, doubtful=False))
        elif (folder, _plain(path)) in chosen:
            what = "passed over: a better folder of the same labels lies beside it"
            found.remarks.append(Remark(str(path.relative_to(root)), what, doubtful=False))
        else:
            chosen[folder, _plain(path)] = path
    return chosen


def _plain(path: Path) -> str:
    """A name without what it says of the product: equal for a picture and its polygons."""
    if path.name.lower() in {"image.tif", "image.tiff", "buildings.geojson"}:
        return ""
    return _PRODUCT.sub("", path.stem).strip("_")


def _scene(
    path: Path,
    folder: Path,
    polygons: Mapping[tuple[Path, str], Path],
    root: Path,
    found: Found,
) -> RawScene:
    plain = _plain(path)
    own = folder.resolve().name
    area = _AOI.search(path.stem)
    scene = RawScene(
        name=plain_name(path, plain or own),
        site=plain_name(path, area[0] if area else own),
        image=path,
        split=next((p for p in path.relative_to(root).parts if p.lower() in _SPLITS), ""),
        date=_date(path.stem),
    )
    labels = polygons.get((folder, plain))
    if labels is None:
        doubtful = bool(polygons)
        found.remarks.append(Remark(path.name, "no labels", doubtful=doubtful))
        return scene
    of_pixels = labels.parent.name == _IN_PIXELS
    return replace(scene, labels=labels, labels_are=PIXELS if of_pixels else POLYGONS)


def _date(stem: str) -> str:
    """The date in a name; of a mosaic of a month its first day."""
    month = _MONTH.search(stem)
    return f"{month[1]}{month[2]}01" if month else date_in(stem)


def _say_strangers(
    images: Mapping[Path, Path | None],
    polygons: Mapping[tuple[Path, str], Path],
    root: Path,
    found: Found,
) -> None:
    for path, folder in images.items():
        if folder is None:
            what = f"passed over, in none of the folders {', '.join(IMAGES)}"
            found.remarks.append(Remark(str(path.relative_to(root)), what))
    used = {scene.labels for scene in found.scenes}
    for path in sorted(set(polygons.values()) - used):
        what = "passed over, of no picture"
        found.remarks.append(Remark(str(path.relative_to(root)), what))


def _find(root: Path, _: Allow) -> Found:
    return find(root)


LAYOUT = Layout(_find, BUILT_UP)
