"""Polygons of a mask, beside those who outline too.

Ours writes more than they do: a shapefile of exact outlines and a GeoPackage of simplified ones,
with areas and mean probabilities. The counts of regions must agree.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from environments import Unavailable, peer_python
from harness import HERE, Case, Measurement, Side
from scene import CITY, bare_mask, city_rasters
from spaces import Spaces

__all__ = ["PEERS", "against", "bare_shapes", "remove_polygons"]

#: Smoothing of the noise that gives 200,000 regions on 10,000².
SIGMA = 2.7


@dataclass(frozen=True)
class Peer:
    """A driver below peers/, and the environment that it runs in; none is the system's GDAL."""

    title: str
    file: str
    environment: str = ""


PEERS = {
    "gdal": Peer("gdal_polygonize", "gdal_polygonize.py"),
    "geoai": Peer("geoai raster_to_vector", "geoai_vector.py", "geoai"),
    "samgeo": Peer("samgeo raster_to_vector", "samgeo_vector.py", "samgeo"),
}


def bare_shapes(spaces: Spaces) -> Case:
    """Regions of a small mask to shapefile and GeoPackage, against bare features.shapes."""
    size = spaces.small.size
    mask = _city(spaces.small.folder / f"city_{size}", size, 7)
    peer = Side("bare shapes", HERE / "peers" / "bare_shapes.py", {"mask": str(mask)})
    return _case("polygonize-shapes", f"polygonise {size}²", mask, peer, 0.6)


def against(name: str, spaces: Spaces) -> Case:
    """Regions of the mask with 200,000 of them, against a peer that writes a GeoPackage."""
    peer = PEERS[name]
    python = peer_python(peer.environment) if peer.environment else _gdal_python()
    size = spaces.polygons
    folder = spaces.root / f"regions_{size}"
    mask = _city(folder, size, SIGMA)
    bare = folder / "bare_mask.tif"
    if not bare.exists():
        bare_mask(mask, bare)
    scratch = folder / "scratch"
    arguments = {"mask": str(bare), "output": str(scratch / "regions.gpkg")}
    side = Side(peer.title, HERE / "peers" / peer.file, arguments, python, scratch=scratch)
    return _case(f"polygonize-{name}", f"polygonise {size}², many regions", mask, side, 1.0)


def _case(name: str, title: str, mask: Path, peer: Side, ratio: float) -> Case:
    folder = mask.parents[1]
    ours = Side("builtup", HERE / "ours" / "polygonize.py", {"folder": str(folder)})
    return Case(
        name,
        title,
        "Mpx",
        ours,
        peer,
        [mask],
        least_ratio=ratio,
        most_memory_mb=400,
        cleanup=lambda: remove_polygons(mask.parent),
        differences=_other_count,
    )


def _other_count(ours: Measurement, theirs: Measurement) -> str:
    a, b = ours.facts["regions"], theirs.facts["regions"]
    return "" if a == b else f"{a} regions, {b} of the peer's"


def _city(folder: Path, size: int, sigma: float) -> Path:
    mask = folder / "raw" / f"{CITY}.tif"
    return mask if mask.exists() else city_rasters(folder, size, sigma)


def remove_polygons(raw: Path) -> None:
    """Take away what polygonize wrote beside the mask, with the note that it is done."""
    shutil.rmtree(raw / ".manifest", ignore_errors=True)
    for path in raw.glob(f"{CITY}.*"):
        if path.suffix != ".tif":
            path.unlink()


def _gdal_python() -> Path:
    """The interpreter that has GDAL's own bindings; Unavailable when none has."""
    if shutil.which("gdal_polygonize.py") is None:
        raise Unavailable(
            "gdal_polygonize.py is not on PATH (Debian: apt-get install gdal-bin python3-gdal)"
        )
    for name in ("/usr/bin/python3", sys.executable, "python3"):
        probe = [name, "-c", "import osgeo_utils.gdal_polygonize"]
        found = shutil.which(name)
        if found and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return Path(found)
    raise Unavailable("no Python here imports osgeo_utils (Debian: apt-get install python3-gdal)")
