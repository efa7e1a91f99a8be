"""What the headers of a scene's files say: bands, grids, validity, scale and declared units.

Headers are read first, of all scenes: one that cannot be used is refused before anything is
written. Every command that reads radar files asks here, and takes the same of them; only that VV
and VH lie on one grid is asked by the steps of the chain alone (`joint`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from builtup.errors import BuiltupError, GridError, InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import Raster, open_location
from builtup.geo.rasters import gdal_env
from builtup.geo.side_files import (
    SideFiles,
    crs_beside,
    has_mask,
    same_number,
    side_files,
    world_file_of,
)
from builtup.geo.target_grid import check_place, shared_ground, target_grid
from builtup.geo.windows import Window
from builtup.jobs.executors import map_threads
from builtup.sensors.radar import bands as rule
from builtup.sensors.radar.products import radiometry_in
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.radar.sentinel1 import METRES
from builtup.sensors.remarks import Remark

__all__ = ["BandHeader", "SceneHeaders", "open_rasters", "read_each", "read_headers"]

#: VH on another grid than VV is warped onto it where they share this much of the smaller one.
LEAST_SHARED = 0.9
#: Backscatter in decibels lies between these: the noise of Sentinel-1 is at −30, and a median of
#: power is never that far below 0, noise subtracted or not.
DECIBELS = (-90.0, -1.0)
#: 100 dB, which nothing returns: what is more, of values that are converted, is no measurement.
MOST = {"": np.inf, "power": 1e10, "amplitude": 1e5, "db": 100.0}
_UNIT_TAG = re.compile(r"unit|scal|backscatter|calibration|radiometr|conversion", re.IGNORECASE)


@dataclass(frozen=True)
class BandHeader:
    """One polarisation as it is stored: a band of a file, its grid, validity, scale and unit.

    Power, amplitude or decibels are `stored * scale + offset`; `unit` is empty until it is judged
    (`builtup.sensors.radar.units`), `declared` what file and catalogue say of it, each with its
    place. `integer`: whole numbers without a scale. `nodata` are all values that mark no-data, by
    the file or its catalogue; `masked` says that GDAL knows a mask, `alpha` is the band that hides
    pixels by 0, 0 for none. `beside` are the side files that count.
    """

    location: Location
    band: int
    grid: Grid
    nodata: tuple[float, ...] = ()
    scale: float = 1.0
    offset: float = 0.0
    integer: bool = False
    declared: tuple[str, ...] = ()
    unit: str = ""
    masked: bool = False
    alpha: int = 0
    beside: tuple[Path, ...] = ()

    @property
    def is_power(self) -> bool:
        """Whether values are linear power as they are stored."""
        return self.unit in {"", "power"} and not self.scaled

    @property
    def scaled(self) -> bool:
        """Whether values are other numbers than those that are stored."""
        return (self.scale, self.offset) != (1.0, 0.0)

    def unmeasured(self, stored: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Pixels without a measurement, of values as they are stored: see `bands.unmeasured`.

        Where the file's scale makes decibels of −9999 (thousandths of one), that is a measurement.
        What would be more than 100 dB is none, but in power that is read as it stands.
        """
        decibels = rule.NODATA_POWER * self.scale + self.offset
        measured = self.unit in {"", "db"} and DECIBELS[0] < decibels < DECIBELS[1]
        filler = -np.inf if measured else rule.NODATA_POWER
        first, *others = self.nodata or (None,)
        bad = rule.unmeasured(stored, first, filler)
        for value in others:
            bad |= rule.unmeasured(stored, value, filler)
        if not self.is_power:
            with np.errstate(over="ignore", invalid="ignore"):
                bad |= stored * self.scale + self.offset > MOST[self.unit]
        return bad

    def hidden(self, raster: Raster, window: Window) -> NDArray[np.bool_] | None:
        """What a mask or an alpha band hides in a window of the file; None where it has none."""
        if self.alpha:
            return ~(raster.read(window, self.alpha) > 0)
        if self.masked:
            return raster.read_mask(window, self.band) == 0
        return None


@dataclass(frozen=True)
class SceneHeaders:
    """A scene whose headers were read; `grid` is what it is read on, `remarks` what is to be said.

    `sampled` is a digest of the values that its units were judged by, empty until then.
    """

    scene: Scene
    vv: BandHeader
    vh: BandHeader
    grid: Grid
    remarks: tuple[Remark, ...] = ()
    sampled: str = ""

    @property
    def bands(self) -> tuple[BandHeader, BandHeader]:
        """VV and VH."""
        return self.vv, self.vh

    @property
    def stored(self) -> Grid:
        """The grid that it is stored on, VH's where that is another left aside."""
        return self.vv.grid

    @property
    def joint(self) -> bool:
        """Whether VV and VH lie on one grid."""
        return self.vv.grid.matches(self.vh.grid)

    @property
    def files(self) -> tuple[Path, ...]:
        """The plain files that it is read from, those that count beside them too."""
        beside = (path for band in self.bands for path in band.beside)
        return tuple(dict.fromkeys((*self.scene.files, *beside)))

    @property
    def validity(self) -> dict[str, str]:
        """What says which pixels are valid besides values and the file's own no-data value.

        A setting of jobs, empty for plain files: those of earlier commits stay done.
        """
        found = {}
        for name, header, band in self._named():
            said = [] if band.nodata is None else [f"nodata {band.nodata:g} by its item"]
            said += [f"alpha {header.alpha}"] if header.alpha else []
            said += ["mask"] if header.masked and not header.alpha else []
            if said:
                found[f"{name}_validity"] = ", ".join(said)
        return found

    @property
    def conversion(self) -> dict[str, str]:
        """How stored values become power on the scene's grid; a setting of jobs, empty for power
        that is read as it stands, as `validity`."""
        found = {}
        for name, header, _ in self._named():
            if not header.is_power:
                found[f"{name}_unit"] = f"{header.unit} * {header.scale:.9g} + {header.offset:.9g}"
        if self.grid != self.vv.grid:
            found["resampled"] = f"{METRES:g} m"
        return found

    def _named(self) -> Iterator[tuple[str, BandHeader, Band]]:
        yield "vv", self.vv, self.scene.vv
        yield "vh", self.vh, self.scene.vh


def read_headers(scene: Scene, *, joint: bool = False) -> SceneHeaders:
    """Read the headers of a scene; raise InputError or GridError where it cannot be used.

    `joint` asks that VV and VH lie on one grid, as files do from which a network learns; else VH
    is warped onto that of VV.
    """
    with gdal_env(), open_rasters(scene) as rasters:
        vv, vh = (
            _band_header(rasters[band.location].dataset, band, name)
            for name, band in (("vv", scene.vv), ("vh", scene.vh))
        )
    remarks = [*vv[1], *vh[1]]
    return _scene_headers(scene, vv[0], vh[0], remarks, joint=joint)


def read_each(
    scenes: Sequence[Scene], *, joint: bool = False
) -> Iterator[SceneHeaders | BuiltupError]:
    """The headers of each scene in turn, or why it cannot be used; many are read at once."""
    return map_threads(lambda scene: read_headers(scene, joint=joint), scenes)


@contextmanager
def open_rasters(scene: Scene) -> Iterator[Mapping[Location, Raster]]:
    """The files of a scene, open; InputError for one that cannot be opened."""
    with ExitStack() as stack:
        yield {place: stack.enter_context(open_location(place)) for place in scene.locations}


def _scene_headers(
    scene: Scene, vv: BandHeader, vh: BandHeader, remarks: list[Remark], *, joint: bool
) -> SceneHeaders:
    """The headers of both polarisations together, and the grid that the scene is read on."""
    if (vv.location, vv.band) == (vh.location, vh.band):
        problem = f"its band {vv.band} would be both VV and VH"
        raise InputError(scene.shown, problem, "give the file of each, or one with a band of each")
    difference = vv.grid.difference(vh.grid)
    if difference is not None:
        _check_shared_ground(scene, vv.grid, vh.grid, difference, joint=joint)
        remarks.append(Remark(scene.shown, "VH is warped onto the grid of VV", difference))
    grid = target_grid(vv.grid, scene.shown, METRES)
    if grid != vv.grid:
        x, y = vv.grid.metres_per_pixel
        what = f"resampled in linear power to {METRES:.0f} m, on which models are trained"
        source, target = (g.crs.to_string()[:40] for g in (vv.grid, grid))
        remarks.append(Remark(scene.shown, what, f"{x:.4g} x {y:.4g} m in {source} to {target}"))
    return SceneHeaders(scene, vv, vh, grid, tuple(remarks))


def _check_shared_ground(scene: Scene, vv: Grid, vh: Grid, difference: str, *, joint: bool) -> None:
    """GridError for a VH whose grid is too far from that of VV."""
    other = scene.vh.location.shown
    if joint:
        raise GridError(
            scene.shown,
            f"not on the grid of {other}: {difference}",
            "export both polarisations on one grid (gdalwarp -tr -te -t_srs)",
        )
    shared = shared_ground(vv, vh)
    if shared < LEAST_SHARED:
        problem = f"shares {shared:.0%} of its ground with {other} ({difference})"
        raise GridError(scene.shown, problem, "give VV and VH of the same scene")


def _band_header(dataset: DatasetReader, band: Band, name: str) -> tuple[BandHeader, list[Remark]]:
    """The header of a polarisation, and what is to be said of its file."""
    shown = band.location.shown
    number = band.number or _band_of(dataset, name, shown)
    if number > dataset.count:
        raise InputError(shown, f"has no band {number}", "check the item's bands")
    beside = SideFiles()
    if not band.location.remote and dataset.driver == "GTiff":
        beside = side_files(dataset, number)
    grid, told = _grid_of(dataset, band.location)
    kind = np.dtype(dataset.dtypes[number - 1])
    if kind.kind not in "fiu":
        raise InputError(shown, f"holds {kind} values", "detect and calibrate it (docs/data.md)")
    scale, offset, scale_doubts = _scale_of(dataset, number, band)
    nodata, nodata_doubts = _nodata_of(dataset, number, band, beside)
    hides = ColorInterp.alpha
    header = BandHeader(
        location=band.location,
        band=number,
        grid=grid,
        nodata=nodata,
        scale=scale,
        offset=offset,
        integer=kind.kind in "iu" and (scale, offset) == (1.0, 0.0),
        declared=(*band.declared, *_declared(dataset, number, band.location.stem, beside)),
        masked=has_mask(dataset, number),
        alpha=dataset.colorinterp.index(hides) + 1 if hides in dataset.colorinterp else 0,
        beside=(*beside.files, *told[:1]),
    )
    calm = [*beside.told, *("its CRS is that of its .prj" for _ in told)]
    doubts = [*beside.contradicted, *scale_doubts, *nodata_doubts]
    return header, [
        *(Remark(shown, text, doubtful=False) for text in calm),
        *(Remark(shown, text) for text in doubts),
    ]


def _scale_of(dataset: DatasetReader, number: int, band: Band) -> tuple[float, float, list[str]]:
    """Scale and offset of a band, by its file or by its catalogue, and what is doubtful of them."""
    own = dataset.scales[number - 1], dataset.offsets[number - 1]
    said = 1.0 if band.scale is None else band.scale, 0.0 if band.offset is None else band.offset
    shown, doubts = band.location.shown, []
    scale, offset = own if said == (1.0, 0.0) else said
    if own not in {(1.0, 0.0), said}:
        if said != (1.0, 0.0):
            problem = f"scale and offset are {_pair(own)} by the file, {_pair(said)} by its item"
            raise InputError(shown, problem, "correct one of them")
        if band.scale is not None:
            by_both = f"{_pair(own)} by the file, {_pair(said)} by its item"
            doubts.append(f"scale and offset are {by_both}: the file's count")
    if not (math.isfinite(scale) and math.isfinite(offset)) or scale == 0:
        problem = f"its scale and offset are {_pair((scale, offset))}"
        raise InputError(shown, problem, "correct them (gdal_edit.py -scale 1 -offset 0)")
    return scale, offset, doubts


def _pair(numbers: tuple[float, float]) -> str:
    return f"{numbers[0]:g} and {numbers[1]:g}"


def _nodata_of(
    dataset: DatasetReader, number: int, band: Band, beside: SideFiles
) -> tuple[tuple[float, ...], list[str]]:
    """All values that mark no-data in a band, and what is doubtful of them."""
    own = dataset.nodatavals[number - 1]
    found = [] if own is None else [own]
    found += beside.nodata
    doubts = []
    if band.nodata is not None:
        if own is not None and not same_number(own, band.nodata):
            by_both = f"{own:g} by the file, {band.nodata:g} by its item"
            doubts.append(f"no-data is {by_both}: both count")
        found.append(band.nodata)
    kind = np.dtype(dataset.dtypes[number - 1])
    if kind.kind == "i":  # the least that it holds is nobody's measurement
        found.append(float(np.iinfo(kind).min))
    return tuple(dict.fromkeys(found)), doubts


def _grid_of(dataset: DatasetReader, location: Location) -> tuple[Grid, tuple[Path, ...]]:
    """The grid of a file, and the .prj that gives its CRS, if one does.

    InputError where nothing says where on Earth it lies.
    """
    shown = location.shown
    told: tuple[Path, ...] = ()
    crs, place = dataset.crs, dataset.transform
    if not crs and not place.is_identity and not location.remote:
        beside = crs_beside(dataset)
        crs, told = (None, ()) if beside is None else (beside[0], (beside[1],))
    if crs and not place.is_identity:
        grid = Grid(crs, place, dataset.width, dataset.height)
        check_place(grid, shown)
        return grid, told
    correct = "terrain-correct it to a map first (docs/data.md)"
    if dataset.gcps[0]:
        raise InputError(shown, "ground control points only", correct)
    if not place.is_identity:
        raise InputError(shown, "no CRS, so no georeference", "give it one (gdal_edit.py -a_srs)")
    world = None if location.remote else world_file_of(dataset)
    if world is not None:
        problem = f"no georeference, and {world.name} is no world file of six numbers"
        raise InputError(shown, problem, "write it anew")
    raise InputError(shown, "no georeference", correct)


def _band_of(dataset: DatasetReader, name: str, shown: str) -> int:
    """The band of a polarisation: the only one but for alpha, or the one described so."""
    kinds = enumerate(dataset.colorinterp, 1)
    numbers = [number for number, kind in kinds if kind is not ColorInterp.alpha]
    if len(numbers) == 1:
        return numbers[0]
    described = [dataset.descriptions[number - 1] or "" for number in numbers]
    texts = list(zip(numbers, described, strict=True))
    exact = [number for number, text in texts if text.strip().lower() == name]
    pattern = re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE)
    found = exact or [number for number, text in texts if pattern.search(text)]
    if len(found) != 1:
        listed = ", ".join(text or "-" for text in described[:8])
        remedy = "copy VV and VH of one radiometry into a file (gdal_translate -b 1 -b 2)"
        if not found:
            remedy = (
                "describe its bands VH and VV (gdal_edit.py does not; rio edit-info or QGIS does), "
                "or split it (gdal_translate -b)"
            )
        problem = f"{len(numbers)} bands, {len(found)} described as {name.upper()} ({listed})"
        raise InputError(shown, problem, remedy)
    return found[0]


def _declared(dataset: DatasetReader, number: int, stem: str, beside: SideFiles) -> Iterator[str]:
    """What a file declares of its values' unit: unit, tags, description, name."""
    if dataset.units[number - 1]:
        yield f"unit: {dataset.units[number - 1]}"
    for tags in (dataset.tags(number), dataset.tags(), dict(beside.declared)):
        for key, value in sorted(tags.items()):
            if _UNIT_TAG.search(key):
                yield f"tag {key}: {value[:80]}"
    if dataset.descriptions[number - 1]:
        yield f"description: {dataset.descriptions[number - 1]}"
    scale = radiometry_in(stem)[1].scale
    if scale not in {"", "digital numbers"}:  # a name is not enough to refuse values that fit
        yield f"name {stem}: {scale}"
