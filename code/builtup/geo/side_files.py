"""What stands beside a GeoTIFF and counts: `.aux.xml`, masks, world files, `.prj`.

GDAL reads them where a raster is opened with `SIDE_FILES`, and by its order of precedence an
`.aux.xml` wins over the TIFF's tags, a world file loses. Here is told which of them count, and what
they contradict. They are never written.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError
from rasterio.io import DatasetReader

from builtup.errors import InputError

__all__ = [
    "SIDE_FILES",
    "SideFiles",
    "crs_beside",
    "has_mask",
    "same_number",
    "side_files",
    "unread_beside",
    "world_file_of",
]

#: GDAL's options for opening a raster with what stands beside it. Nothing is written: only
#: statistics that GDAL computed, which nobody asks for, would be.
SIDE_FILES = {"GDAL_DISABLE_READDIR_ON_OPEN": "TRUE", "GDAL_PAM_ENABLED": "YES"}
#: What an `.aux.xml` may say of a raster, by the name of its element, that makes a difference.
_TELLING = {"SRS": "CRS", "GeoTransform": "place", "GCPList": "points", "NoDataValue": "no-data"}


@dataclass(frozen=True)
class SideFiles:
    """Of one band: the side files that count, what they tell, and what they contradict.

    `nodata` are values of the TIFF that an `.aux.xml` hides: what is marked by them still is no
    measurement. `declared` are texts of the TIFF's own that it hides.
    """

    files: tuple[Path, ...] = ()
    told: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()
    nodata: tuple[float, ...] = ()
    declared: tuple[tuple[str, str], ...] = ()


def has_mask(dataset: DatasetReader, band: int) -> bool:
    """Whether GDAL knows a mask of the band, inside the TIFF or beside it, or by its alpha."""
    return MaskFlags.per_dataset in dataset.mask_flag_enums[band - 1]


def crs_beside(dataset: DatasetReader) -> tuple[CRS, Path] | None:
    """The CRS of a `.prj`, which GDAL does not read for a TIFF; None where there is none.

    Raises InputError for one that is not understood.
    """
    path = _existing(Path(dataset.name).with_suffix(".prj"))
    if path is None:
        return None
    try:
        return CRS.from_wkt(path.read_text(errors="replace"), morph_from_esri_dialect=True), path
    except CRSError as e:
        raise InputError(path, "its CRS is not understood", "write it again, or remove it") from e


def world_file_of(dataset: DatasetReader) -> Path | None:
    """The world file beside a raster, whether GDAL uses it or not."""
    path = Path(dataset.name)
    own = path.suffix.lower()
    # .tif has .tfw, .tifw or .wld; .tiff also .tiffw, and .jpeg .jgw and .jpegw
    ends = dict.fromkeys((f"{own[:2]}{own[-1:]}w", f"{own[:4]}w", f"{own}w", ".wld"))
    names = (path.with_suffix(case) for end in ends for case in (end, end.upper()))
    return next(filter(None, map(_existing, names)), None)


def unread_beside(dataset: DatasetReader) -> list[str]:
    """What files beside a raster that was opened without them say of it, and it does not say
    itself: `a place (.pgw)`."""
    path = Path(dataset.name)
    placed = not dataset.transform.is_identity
    found = []
    world = world_file_of(dataset)
    said = None if world is None else _world_transform(world)
    if world is not None and said is not None:
        if not placed:
            found.append(f"a place ({world.suffix})")
        elif not said.almost_equals(dataset.transform, 1e-3 * abs(dataset.transform.a)):
            found.append(f"another place ({world.suffix})")
    if not dataset.crs and _existing(path.with_suffix(".prj")) is not None:
        found.append("a CRS (.prj)")
    if _existing(path.with_name(f"{path.name}.msk")) is not None:
        found.append("a mask (.msk)")
    told = _told_by_aux(path.with_name(f"{path.name}.aux.xml"))
    known = {"CRS": bool(dataset.crs), "place": placed, "no-data": dataset.nodata is not None}
    if new := [name for name in told if not known.get(name)]:
        found.append(f"{', '.join(new)} (.aux.xml)")
    return found


def _told_by_aux(path: Path) -> list[str]:
    """What an `.aux.xml` tells besides statistics; nothing where there is none."""
    if _existing(path) is None:
        return []
    try:
        names = {element.tag for element in ET.fromstring(path.read_bytes()).iter()}
    except (OSError, ET.ParseError):
        return ["what cannot be read"]
    return [what for name, what in _TELLING.items() if name in names]


def side_files(dataset: DatasetReader, band: int) -> SideFiles:
    """What stands beside a raster that was opened with `SIDE_FILES`, of one band.

    Raises InputError for a mask that GDAL does not take.
    """
    path = Path(dataset.name)
    found = SideFiles()
    mask = _existing(path.with_name(f"{path.name}.msk"))
    if mask is not None:
        if not has_mask(dataset, band):
            problem = f"no mask of {path.name}: another size, or not written as one by GDAL"
            raise InputError(mask, problem, "make it anew, or remove it")
        found = _joined(found, SideFiles((mask,), ("its mask (.msk) counts",)))
    world = world_file_of(dataset)
    if world is not None:
        found = _joined(found, _world(dataset, world))
    aux = _existing(path.with_name(f"{path.name}.aux.xml"))
    if aux is not None:
        found = _joined(found, _aux(dataset, band, aux))
    return found


def _existing(path: Path) -> Path | None:
    try:
        return path if path.is_file() else None
    except OSError:  # a name that is too long, or one of GDAL's own file systems
        return None


def _joined(one: SideFiles, other: SideFiles) -> SideFiles:
    return SideFiles(
        one.files + other.files,
        one.told + other.told,
        one.contradicted + other.contradicted,
        one.nodata + other.nodata,
        one.declared + other.declared,
    )


def _world(dataset: DatasetReader, path: Path) -> SideFiles:
    """A world file: used where the TIFF does not say its place, else held against it."""
    if path in map(Path, dataset.files):
        return SideFiles((path,), (f"its place is that of the world file ({path.suffix})",))
    said = _world_transform(path)
    if said is None or dataset.transform.is_identity:
        return SideFiles()  # one that cannot be read: a raster without a place is refused anyway
    if said.almost_equals(dataset.transform, 1e-3 * abs(dataset.transform.a)):
        return SideFiles()
    return SideFiles(
        contradicted=(
            f"its world file ({path.suffix}) gives another place than the TIFF, which counts",
        )
    )


def _world_transform(path: Path) -> Affine | None:
    """The six numbers of a world file, whose origin is the centre of a pixel."""
    try:
        a, d, b, e, c, f = map(float, path.read_text(errors="replace").split()[:6])
    except (OSError, ValueError):
        return None
    return Affine(a, b, c, d, e, f) @ Affine.translation(-0.5, -0.5)


def _aux(dataset: DatasetReader, band: int, path: Path) -> SideFiles:
    """An `.aux.xml`: what differs by it from the TIFF alone."""
    try:
        ET.fromstring(path.read_bytes())
    except (OSError, ET.ParseError) as e:
        return SideFiles(contradicted=(f"its .aux.xml cannot be read ({e}) and does not count",))
    without = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
    with rasterio.Env(**without), rasterio.open(dataset.name, driver="GTiff") as own:
        told, contradicted = [], []
        for what, with_it, alone, nothing in _facts(dataset, own, band):
            if same_number(with_it, alone):
                continue
            new = f"its .aux.xml gives {what} {_shown(with_it)}"
            if same_number(alone, nothing):
                told.append(new)
            else:
                which = "both count" if what == "no-data" else "the former counts, as in GDAL"
                contradicted.append(f"{new}, the TIFF {_shown(alone)}: {which}")
        hidden = own.nodatavals[band - 1]
        if hidden is None or same_number(hidden, dataset.nodatavals[band - 1]):
            hidden = None
        tags = {**own.tags(), **own.tags(band)}
        kept = {**dataset.tags(), **dataset.tags(band)}
        lost = tuple(item for item in sorted(tags.items()) if kept.get(item[0]) != item[1])
        changed = bool(told or contradicted) or _tags_differ(dataset, own, band)
    return SideFiles(
        files=(path,) if changed else (),
        told=tuple(told),
        contradicted=tuple(contradicted),
        nodata=() if hidden is None else (hidden,),
        declared=lost,
    )


def _facts(
    dataset: DatasetReader, own: DatasetReader, band: int
) -> Iterator[tuple[str, object, object, object]]:
    """What an `.aux.xml` may change: its name, with and without it, and what stands for nothing."""
    one, i = Affine.identity(), band - 1
    yield "CRS", dataset.crs or None, own.crs or None, None
    yield "transform", tuple(dataset.transform)[:6], tuple(own.transform)[:6], tuple(one)[:6]
    yield "no-data", dataset.nodatavals[i], own.nodatavals[i], None
    yield "scale", dataset.scales[i], own.scales[i], 1.0
    yield "offset", dataset.offsets[i], own.offsets[i], 0.0
    yield "unit", dataset.units[i] or None, own.units[i] or None, None
    yield "description", dataset.descriptions[i] or None, own.descriptions[i] or None, None


def _tags_differ(dataset: DatasetReader, own: DatasetReader, band: int) -> bool:
    """Whether tags differ but for statistics, which GDAL's tools leave beside what they look at."""
    with_it, alone = (
        {key: value for key, value in {**d.tags(), **d.tags(band)}.items() if "STATIST" not in key}
        for d in (dataset, own)
    )
    with_it.pop("AREA_OR_POINT", None)  # lost to any metadata of the .aux.xml
    alone.pop("AREA_OR_POINT", None)
    return with_it != alone


def same_number(one: object, other: object) -> bool:
    """Whether two are equal, or both are no number."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return one == other


def _shown(value: object) -> str:
    if isinstance(value, CRS):
        return str(value.to_string())[:40]
    if isinstance(value, tuple):
        return "(" + ", ".join(f"{v:.10g}" for v in value) + ")"
    return f"{value:g}" if isinstance(value, float) else str(value)[:60]
