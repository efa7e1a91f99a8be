"""Images from the air as somebody has them: which files are scenes, and what their headers say.

A folder may be as `import_scenes` writes it (`images/<site>/<name>_image.tif`, with `height/<site>/
<name>_height.tif`), as the DroneDeploy data set has it (`images/<name>-ortho.tif`, `elevations/
<name>-elev.tif`), or hold any pictures; beside one of those `<name>_height.tif` are metres above
local ground, and `<name>-elev.tif` or `<name>_dsm.tif` elevations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import Grid
from builtup.geo.lengths import pixel_metres
from builtup.geo.locations import Location, is_url
from builtup.geo.rasters import gdal_env, open_raster
from builtup.jobs.executors import map_threads
from builtup.logs import warn_once
from builtup.sensors.optical.elevations import placed
from builtup.sensors.optical.layouts import dronedeploy
from builtup.sensors.optical.pictures import open_picture
from builtup.sensors.radar.names import date_in, safe_name, site_key
from builtup.sensors.remarks import Remark
from builtup.sensors.scene_files import list_files

__all__ = ["FoundImages", "ImageHeaders", "StoredImage", "find_images", "read_headers"]

_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
#: What names of an image end in, besides its own name.
_ENDS = ("_image", "-ortho", "_ortho")
#: What names end in that are of something else than an image: layers, labels, our own maps.
_OTHERS = re.compile(
    r".*([_-](masks?|labels?|soft|height|elev|elevation|dsm|dtm|dem|prob|confidence|std|count|"
    r"preview)|_quicklook.*)",
    re.IGNORECASE,
)
_ELEVATIONS = ("-elev", "_elev", "_elevation", "_dsm", "-dsm")


@dataclass(frozen=True)
class StoredImage:
    """An image and what lies beside it: `builtup.sensors.source.Scene`.

    `city` is its site. `height` is a raster of metres above local ground, or, with `is_elevation`,
    of elevations. `metres` is the pixel of images of its layout that do not say theirs.
    """

    scene_id: str
    city: str
    path: Path
    date: str = ""
    height: Path | None = None
    is_elevation: bool = False
    metres: float | None = None

    @property
    def plain_id(self) -> str:
        """The id without its braces."""
        return self.scene_id.replace("_{}", "")

    @property
    def shown(self) -> str:
        """What messages call it: its file."""
        return str(self.path)

    @property
    def locations(self) -> tuple[Location, ...]:
        """Where it lies."""
        return (Location(str(self.path)),)

    def output_name(self, kind: str) -> str:
        """The file name of a raster made of it: the id with the kind for the braces."""
        return f"{self.scene_id.replace('{}', kind)}.tif"


@dataclass(frozen=True)
class ImageHeaders:
    """An image whose headers were read: `builtup.sensors.source.Headers`.

    `stored` is its own grid, `grid` the one that it is read on, `height_grid` that of its height,
    where networks take that; `metres` is the side of its own pixels, None where it is not known.
    """

    scene: StoredImage
    stored: Grid
    grid: Grid
    metres: float | None
    height_grid: Grid | None = None
    remarks: tuple[Remark, ...] = ()
    sampled: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The image, and the raster of its height where that counts."""
        height = self.scene.height if self.height_grid is not None else None
        return (self.scene.path, *([] if height is None else [height]))

    @property
    def validity(self) -> Mapping[str, str]:
        """Nothing but the image itself, and how it is read."""
        known = "unknown" if self.height_grid is None else "elevation"
        height = "above ground" if known != "unknown" and not self.scene.is_elevation else known
        return {"height": height, "pixels": f"{self.grid.width} x {self.grid.height}"}


@dataclass
class FoundImages:
    """The images of an input in a fixed order, and what is refused."""

    scenes: list[StoredImage] = field(default_factory=list)
    problems: list[BuiltupError] = field(default_factory=list)


def find_images(input_path: str) -> FoundImages:
    """The images of `input_path` (several, separated by `;`): files, or folders of them.

    Says what is passed over. Raises InputError where there is none.
    """
    found = FoundImages()
    of_id: dict[str, StoredImage] = {}
    for entry in filter(None, (part.strip() for part in input_path.split(";"))):
        if is_url(entry) or entry.startswith("/vsi"):
            raise InputError(entry, "images are read from files here", "download it")
        for image in _images_of(Path(entry), found):
            known = of_id.setdefault(image.scene_id, image)
            if known.path.resolve() != image.path.resolve():
                problem = f"the scene {image.plain_id} stands twice, here and in {known.path}"
                found.problems.append(InputError(image.path, problem, "rename one of them"))
    found.scenes = sorted(of_id.values(), key=lambda s: (s.city, s.scene_id))
    if not found.scenes and not found.problems:
        raise InputError(
            input_path or "input_path",
            "no image in it",
            "give orthomosaics: GeoTIFF, PNG or JPEG files of red, green and blue, or a folder",
        )
    return found


def _images_of(place: Path, found: FoundImages) -> Iterator[StoredImage]:
    if place.is_file():
        yield _image(place, place.parent)
        return
    if not place.is_dir():
        raise InputError(place, "no such file or folder", "check the path")
    root = place.parent if place.name == "images" else place
    if any((root / "images").glob("*-ortho.*")):
        yield from _of_dronedeploy(root, found)
        return
    listing = list_files(place)
    found.problems += listing.passed
    passed: list[Path] = []
    heights: set[Path | None] = set()
    imported = [path for path in listing.files if path.stem.endswith("_image")]
    for path in imported or listing.files:
        if path.suffix.lower() not in _SUFFIXES:
            continue
        if _OTHERS.fullmatch(path.stem):
            passed.append(path)
            continue
        image = _image(path, place)
        heights.add(image.height)
        yield image
    passed = [path for path in passed if path not in heights]
    if passed:
        more = f" and {len(passed) - 1} more" if passed[1:] else ""
        warn_once(f"{passed[0]}{more}: passed over, by the name no image")


def _of_dronedeploy(root: Path, found: FoundImages) -> Iterator[StoredImage]:
    raw = dronedeploy.find(root)
    found.problems += raw.problems
    for scene in raw.scenes:
        yield StoredImage(
            f"{safe_name(scene.name)}_{{}}",
            site_key(scene.site),
            scene.image,
            scene.date,
            scene.elevation,
            is_elevation=True,
            metres=dronedeploy.LAYOUT.metres,
        )


def _image(path: Path, root: Path) -> StoredImage:
    """An image by its file; of `import_scenes` its folder is its site."""
    name = path.stem
    for end in _ENDS:
        name = name.removesuffix(end)
    imported = path.stem.endswith("_image") and path.parent != root
    site = path.relative_to(root).parts[0] if imported else name
    if imported and site == "images" and len(path.relative_to(root).parts) > 2:
        site = path.relative_to(root).parts[1]
    height, is_elevation = _height_of(path, name)
    return StoredImage(
        f"{safe_name(name)}_{{}}",
        site_key(site),
        path,
        date_in(name),
        height,
        is_elevation=is_elevation,
    )


def _height_of(path: Path, name: str) -> tuple[Path | None, bool]:
    """The raster of an image's height, and whether it holds elevations."""
    beside = [path.with_name(f"{name}_height.tif")]
    parts = list(path.parts)
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[:-1][::-1].index("images")
        beside.append(Path(*parts[:place], "height", *parts[place + 1 : -1], f"{name}_height.tif"))
    for height in beside:
        if height.is_file():
            return height, False
    folders = (path.parent, path.parent.parent / "elevations")
    for elevation in (f / f"{name}{end}.tif" for f in folders for end in _ELEVATIONS):
        if elevation.is_file():
            return elevation, True
    return None, False


def read_headers(
    scenes: Sequence[StoredImage], *, with_height: bool
) -> Iterator[ImageHeaders | BuiltupError]:
    """The headers of each image in turn, or why it cannot be used; many are read at once.

    `with_height`: the network takes the height above ground; where there is none it is said.
    """
    return map_threads(lambda scene: _headers(scene, with_height), scenes)


def _headers(scene: StoredImage, with_height: bool) -> ImageHeaders:
    with gdal_env(), open_picture(scene.path) as picture:
        grid, metres = picture.grid, pixel_metres(picture.dataset) or scene.metres
        remarks = list(picture.remarks)
    if not grid.crs:
        what = "has no CRS: it gets rasters, and no polygons"
        remarks.append(Remark(scene.path.name, what))
    height_grid, told = _height_grid(scene, grid, metres) if with_height else (None, ())
    return ImageHeaders(scene, grid, grid, metres, height_grid, (*remarks, *told))


def _height_grid(
    scene: StoredImage, grid: Grid, metres: float | None
) -> tuple[Grid | None, Iterable[Remark]]:
    """Where the height of an image lies; None, and a remark, where it is not known."""
    if scene.height is None:
        what = "no elevation beside it: the height above ground is unknown to the network"
        return None, [Remark(scene.path.name, what)]
    if scene.is_elevation and metres is None:
        what = "its pixel size is not known, so that its elevation gives no height above ground"
        return None, [Remark(scene.path.name, what)]
    with gdal_env():
        if scene.is_elevation:
            return placed(scene.height, scene.path, grid)
        with open_raster(scene.height) as dataset:
            own = Grid.of(dataset)
    difference = grid.difference(own)
    if difference is not None:
        problem = f"not on the grid of {scene.path.name}: {difference}"
        raise InputError(scene.height, problem, "import the scene again, or take it away")
    return own, ()
