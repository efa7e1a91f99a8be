"""The layout of the Open Cities data: STAC catalogues of images and of polygons of buildings.

`<tier>/catalog.json` leads to a collection a city, and this to pairs of items: an image
(`<id>/<id>.tif`, RGBA, each in its UTM zone) and its labels (`<id>-labels/<id>.geojson`, WGS 84).
STAC 0.8.1 to 1.1, with the label extension. The tier is the split, the city the site. Folders
without a catalogue hold images without labels, and their name is the split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builtup.errors import InputError
from builtup.geo.locations import Allow, asset_location, is_url
from builtup.sensors.classes import BUILT_UP
from builtup.sensors.optical.raw_scenes import (
    POLYGONS,
    Found,
    Layout,
    RawScene,
    files_below,
    plain_name,
)
from builtup.sensors.radar.names import date_in
from builtup.sensors.remarks import Remark
from builtup.sensors.stac import CatalogueItem, objects, read_catalogue

__all__ = ["LAYOUT", "find"]

CATALOGUE = "catalog.json"
#: Tiers of which the data set says that not all buildings are drawn.
INCOMPLETE = ("train_tier_2",)
_TIER = re.compile(r"(train|val|valid|test)(_tier_\d+)?")
_PICTURES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def find(root: Path, allow: Allow) -> Found:
    """The scenes of the catalogues of a folder (or of the one that it is), and of its folders of
    images without labels.

    A catalogue none of whose images is here is said, and nothing of it is imported. Raises
    InputError where that leaves no scene.
    """
    found = Found()
    absent: list[InputError] = []
    for folder in [root] if (root / CATALOGUE).is_file() else _parts(root, found):
        path = folder / CATALOGUE
        if path.is_file():
            _Tier(root, allow, found, absent).take(path)
        else:
            _take_pictures(folder, root, found)
    if not found.scenes and not found.problems:
        if absent:
            raise absent[0]
        remedy = "give the folder with the tiers (train_tier_1, …), or one of them"
        raise InputError(root, f"no {CATALOGUE} and no images in it", remedy)
    for e in absent:
        what = f"{e.problem}; nothing of it is imported"
        found.remarks.append(Remark(str(Path(e.path).relative_to(root)), what))
    return found


def _parts(root: Path, found: Found) -> list[Path]:
    """The folders of a data set; itself where it has images and no tiers."""
    entries = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    folders = [path for path in entries if path.is_dir()]
    loose = [path for path in entries if path.suffix.lower() in _PICTURES]
    if loose and not any((folder / CATALOGUE).is_file() for folder in folders):
        return [root]
    what = "passed over, in none of the folders of tiers or images"
    found.remarks += [Remark(path.name, what) for path in loose]
    return folders


def _take_pictures(folder: Path, root: Path, found: Found) -> None:
    """Images without labels: each a site of its own, or of the folder within which it lies."""
    for path in files_below(folder, _PICTURES, found):
        if path.stem.endswith("_mask"):
            what = "passed over, by the name a mask: layout=chips reads these"
            found.remarks.append(Remark(str(path.relative_to(root)), what))
            continue
        below = path.relative_to(folder).parts[:-1]
        split = folder.resolve().name
        try:
            name = plain_name(path, path.stem)
            found.scenes.append(RawScene(name, plain_name(path, (*below, name)[0]), path, split))
        except InputError as e:
            found.problems.append(e)


@dataclass
class _Tier:
    """One catalogue: its items become scenes, problems and remarks of `found`; or it is one of the
    `absent`, none of whose images is here."""

    root: Path
    allow: Allow
    found: Found
    absent: list[InputError]

    def take(self, path: Path) -> None:
        catalogue = read_catalogue(path, self.root, self.allow)
        self.found.problems += catalogue.problems
        labels = [item for item in catalogue.items if _is_labels(item)]
        images = [item for item in catalogue.items if not _is_labels(item)]
        labels_of = self._paired(images, labels)
        scenes, problems, gone = [], [], 0
        for item in images:
            try:
                image = self._file(item, "image", _image_assets(item.content))
                if isinstance(image, InputError):
                    gone += 1
                    raise image
                scenes.append(self._scene(item, image, labels_of.get(item.path)))
            except InputError as e:
                problems.append(e)
        if images and gone == len(images):
            self.absent.append(_listed(path, images, problems[0]))
            return
        self.found.scenes += scenes
        self.found.problems += problems
        self.found.remarks += [
            Remark(scene.image.name, "no labels", doubtful=bool(labels))
            for scene in scenes
            if not scene.labelled
        ]

    def _scene(self, item: CatalogueItem, image: Path, labels: CatalogueItem | None) -> RawScene:
        tier = _tier(item)
        moment = str(item.properties.get("datetime") or item.properties.get("start_datetime") or "")
        scene = RawScene(
            name=plain_name(item.path, item.id),
            site=plain_name(item.path, _city(item)),
            image=image,
            split=plain_name(item.path, tier),
            date=date_in(moment[:10]),
        )
        if labels is None:
            return scene
        polygons = self._file(labels, "labels", _label_assets(labels.content))
        if isinstance(polygons, InputError):
            raise polygons
        complete = tier not in INCOMPLETE
        if not complete:
            what = f"labels of {tier} are incomplete: what they leave out is ignored, not ground"
            self.found.remarks.append(Remark(polygons.name, what, doubtful=False))
        self._say_other_things(labels, polygons)
        return RawScene(
            **{**vars(scene), "labels": polygons, "labels_are": POLYGONS, "complete": complete}
        )

    def _say_other_things(self, item: CatalogueItem, polygons: Path) -> None:
        named = item.properties.get("label:properties")
        if isinstance(named, list) and named and "building" not in named:
            what = "its labels are not said to be buildings: all polygons are taken for them"
            detail = ", ".join(map(str, named))[:80]
            self.found.remarks.append(Remark(polygons.name, what, detail))

    def _paired(
        self, images: Sequence[CatalogueItem], labels: Sequence[CatalogueItem]
    ) -> dict[Path, CatalogueItem]:
        """The labels of each image, by the file of its item; others, and second ones, are problems.

        By their link `source`, else by their id, `<image>-labels`.
        """
        of_path = {item.path: item for item in images}
        of_id = {item.id: item for item in images}
        paired: dict[Path, CatalogueItem] = {}
        for item in labels:
            try:
                image = next(filter(None, map(of_path.get, self._sources(item))), None)
                image = image or of_id.get(item.id.removesuffix("-labels").removesuffix("_labels"))
                if image is None:
                    problem = f"item {item.id}: labels of no image of the catalogue"
                    raise InputError(item.path, problem, "link its image as rel=source")
                if image.path in paired:
                    problem = f"item {item.id}: {image.id} has labels in {paired[image.path].path}"
                    raise InputError(item.path, problem, "take one of them away")
                if item.properties.get("label:type", "vector") != "vector":
                    problem = f"item {item.id}: labels that are a raster"
                    raise InputError(item.path, problem, "give polygons, or use layout=chips")
                paired[image.path] = item
            except InputError as e:
                self.found.problems.append(e)
        return paired

    def _sources(self, item: CatalogueItem) -> list[Path]:
        links = [
            asset_location(href, str(item.path), self.allow, self.root)
            for href in item.linked("source")
        ]
        return [link.path.resolve() for link in links if not link.remote]

    def _file(
        self, item: CatalogueItem, what: str, assets: Sequence[Mapping[str, Any]]
    ) -> Path | InputError:
        """The file of an item's asset, or what to say of one that is not here.

        A link that leaves the machine is taken to the file of its name beside the item, where there
        is one. Raises InputError where there is no such asset, several, or one that may not be.
        """
        if len(assets) != 1 or not isinstance(assets[0].get("href"), str):
            keys = ", ".join(sorted(map(str, item.content["assets"]))[:12]) or "none"
            problem = f"item {item.id}: {len(assets)} assets of its {what} (assets: {keys})"
            raise InputError(item.path, problem, f"give items with one asset {what}")
        href = assets[0]["href"]
        if is_url(href) and not href.startswith("file://"):
            shown = href.partition("?")[0]
            beside = item.path.parent / shown.rpartition("/")[2]
            if beside.is_file():
                said = "its link leaves this machine: the file of that name beside it is read"
                self.found.remarks.append(Remark(item.path.name, said, shown, doubtful=False))
                return beside
            problem = f"item {item.id}: its {what} is not here, but at {shown}"
            return InputError(item.path, problem, f"download it to {beside.name} beside the item")
        path = asset_location(href, str(item.path), self.allow, self.root).path
        if not path.is_file():
            problem = f"item {item.id}: a dead link, its {what} {href} is not there"
            return InputError(item.path, problem, "add it, or take the item out")
        return path


def _listed(path: Path, images: Sequence[CatalogueItem], first: InputError) -> InputError:
    cities = Counter(_city(item) for item in images)
    named = ", ".join(f"{city} {count}" for city, count in sorted(cities.items()))
    problem = f"none of its {len(images)} images is here ({named}; {first.problem})"
    return InputError(path, problem, "download the images beside their items")


def _is_labels(item: CatalogueItem) -> bool:
    """Whether an item is of the label extension: it says what type its labels have."""
    said = item.content.get("stac_extensions")
    names = [str(name) for name in said] if isinstance(said, list) else []
    extended = any(name == "label" or "/label/" in name for name in names)
    return "label:type" in item.properties or (extended and bool(_label_assets(item.content)))


def _image_assets(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The asset `image`, else those in the role of data, else the GeoTIFFs."""
    assets = item["assets"]
    if isinstance(assets.get("image"), dict):
        return [assets["image"]]
    known = objects(list(assets.values()))
    data = [asset for asset in known if "data" in _roles(asset)]
    return data or [asset for asset in known if "tiff" in str(asset.get("type")).lower()]


def _label_assets(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The asset `labels`, else those in the role of labels, else the GeoJSON files."""
    assets = item["assets"]
    if isinstance(assets.get("labels"), dict):
        return [assets["labels"]]
    known = objects(list(assets.values()))
    labels = [asset for asset in known if {"labels", "labels-vector"} & _roles(asset)]
    return labels or [asset for asset in known if "geo+json" in str(asset.get("type")).lower()]


def _roles(asset: Mapping[str, Any]) -> set[str]:
    roles = asset.get("roles")
    return {str(role) for role in roles} if isinstance(roles, list) else set()


def _tier(item: CatalogueItem) -> str:
    """The catalogue of a tier among those that an item lies in, else the topmost."""
    tiers = [name for name in item.parents if _TIER.fullmatch(name)]
    return (tiers or list(item.parents))[0]


def _city(item: CatalogueItem) -> str:
    """The collection that an item lies in; what it says itself where that is the tier, else
    its own id."""
    if len(item.parents) > 1 and item.parents[-1] != _tier(item):
        return item.parents[-1]
    said = str(item.properties.get("area") or item.content.get("collection") or "")
    return item.id if said in {"", _tier(item)} else said


LAYOUT = Layout(find, BUILT_UP)
