"""One self-contained HTML page on city maps: pictures, scores, times. No network needed."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.features import rasterize as burn
from rasterio.warp import transform_geom

from builtup.files import write_text_atomically
from builtup.raster.grid import Grid
from builtup.raster.io import gdal_env, open_raster
from builtup.sar.bands import IGNORE, to_db

__all__ = ["CityMaps", "Table", "write_report"]

#: Longest side of a picture, in pixels.
PICTURE = 720
RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class CityMaps:
    """The files of one city. `image` is a 3-band scene; `truth` its mask (0, 1, 255), if any."""

    city: str
    image: Path
    probability: Path
    deviation: Path | None
    polygons: Path
    truth: Path | None = None


@dataclass(frozen=True)
class Table:
    """A titled table; cells are printed as they are."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class _Picture:
    caption: str
    png: bytes = field(repr=False)


def write_report(
    path: Path, title: str, summary: str, cities: Sequence[CityMaps], tables: Sequence[Table]
) -> None:
    """Write the page: `summary` (one paragraph), the tables, then each city's pictures."""
    body = [f"<h1>{html.escape(title)}</h1>", f"<p>{html.escape(summary)}</p>"]
    body += [_table(table) for table in tables]
    with gdal_env():
        for city in cities:
            body.append(f"<h2>{html.escape(city.city)}</h2>")
            body.append('<div class="maps">' + "".join(map(_figure, _pictures(city))) + "</div>")
    write_text_atomically(path, _PAGE.format(title=html.escape(title), body="\n".join(body)))


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    note = f"<p class='note'>{html.escape(table.note)}</p>" if table.note else ""
    return f"<h2>{html.escape(table.title)}</h2><table><tr>{head}</tr>{rows}</table>{note}"


def _figure(picture: _Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    caption = html.escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _pictures(city: CityMaps) -> list[_Picture]:
    power, grid = _read(city.image)
    image = _backscatter(power)
    pictures = [
        _Picture(f"backscatter, VV red, VH green, ratio blue: {_extent(grid)}", _png(image))
    ]
    probability, own = _read(city.probability)
    value = np.where(probability[0] == IGNORE, np.nan, probability[0] / 254)
    pictures.append(_Picture("probability of built-up, 0 dark to 1 bright", _png(_ramp(value))))
    if city.deviation is not None:
        deviation = _read(city.deviation)[0][0]
        top = float(np.nanmax(deviation)) if np.isfinite(deviation).any() else 0.0
        pictures.append(
            _Picture(
                f"disagreement of the dates (standard deviation, 0 to {top:.2f})",
                _png(_ramp(deviation / max(top, 1e-6))),
            )
        )
    outlined = _outline(image, city.polygons, grid)
    pictures.append(_Picture("polygons on the image", _png(outlined)))
    if city.truth is not None:
        pictures.append(_errors(city.truth, city.polygons, own))
    return pictures


def _read(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """All bands, at most PICTURE pixels a side, averaged; and the grid of what was read."""
    with open_raster(path) as dataset:
        grid = Grid.of(dataset)
        shrink = max(1.0, max(grid.shape) / PICTURE)
        height, width = max(1, int(grid.height / shrink)), max(1, int(grid.width / shrink))
        resampling = Resampling.average if dataset.dtypes[0] == "float32" else Resampling.nearest
        values = dataset.read(
            out_shape=(dataset.count, height, width), resampling=resampling, masked=False
        ).astype(np.float32)
    scale = rasterio.Affine.scale(grid.width / width, grid.height / height)
    return values, Grid(grid.crs, grid.transform @ scale, width, height)


def _backscatter(power: NDArray[np.float32]) -> RGB:
    """VV, VH and their ratio in dB, each stretched from its 2nd to its 98th percentile."""
    vh, vv = to_db(power[0]), to_db(power[1])
    channels = []
    for band in (vv, vh, vv - vh):
        low, high = np.nanpercentile(band, (2, 98)) if np.isfinite(band).any() else (0.0, 1.0)
        channels.append(np.clip((band - low) / max(high - low, 1e-6), 0, 1))
    rgb = np.nan_to_num(np.stack(channels, -1))
    return (rgb * 255).astype(np.uint8)


def _ramp(value: NDArray[np.floating]) -> RGB:
    """Viridis of 0 to 1; grey where undefined."""
    from matplotlib import colormaps

    rgb = colormaps["viridis"](np.nan_to_num(np.clip(value, 0, 1)))[..., :3] * 255
    rgb[np.isnan(value)] = 128
    return rgb.astype(np.uint8)


def _shapes(path: Path, grid: Grid) -> list[dict]:
    """Polygons as GeoJSON geometries in the CRS of `grid`."""
    import fiona

    with fiona.open(path) as source:
        geometries = [feature.geometry.__geo_interface__ for feature in source if feature.geometry]
        crs = source.crs_wkt
    if not geometries or rasterio.CRS.from_wkt(crs) == grid.crs:
        return geometries
    return list(transform_geom(crs, grid.crs, geometries))


def _outline(image: RGB, polygons: Path, grid: Grid) -> RGB:
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    inverse = ~grid.transform
    for geometry in _shapes(polygons, grid):
        parts = geometry["coordinates"]
        for part in parts if geometry["type"] == "MultiPolygon" else [parts]:
            for ring in part:
                draw.line([inverse @ xy[:2] for xy in ring], fill=(255, 60, 60), width=1)
    return np.asarray(canvas)


def _errors(truth: Path, polygons: Path, grid: Grid) -> _Picture:
    """White right, red false, blue missed, grey unknown; from polygons and mask."""
    mask = _read(truth)[0][0]
    rows = np.minimum(np.arange(grid.height) * mask.shape[0] // grid.height, mask.shape[0] - 1)
    columns = np.minimum(np.arange(grid.width) * mask.shape[1] // grid.width, mask.shape[1] - 1)
    mask = mask[np.ix_(rows, columns)]
    shapes = _shapes(polygons, grid)
    predicted = np.zeros(grid.shape, np.uint8)
    if shapes:
        burn(((shape, 1) for shape in shapes), out=predicted, transform=grid.transform)
    picture = np.zeros((*grid.shape, 3), np.uint8)
    picture[(mask == 1) & (predicted == 1)] = (255, 255, 255)
    picture[(mask == 0) & (predicted == 1)] = (230, 70, 60)
    picture[(mask == 1) & (predicted == 0)] = (70, 120, 230)
    picture[mask == IGNORE] = 128
    return _Picture("found (white), false (red), missed (blue), unknown (grey)", _png(picture))


def _extent(grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    unit, factor = ("km", 1000) if grid.crs and grid.crs.is_projected else ("°", 1)
    return f"{(right - left) / factor:.3g} × {(top - bottom) / factor:.3g} {unit}"


def _png(image: RGB) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem }}
table {{ border-collapse: collapse; display: block; overflow-x: auto }}
th, td {{ border-bottom: 1px solid #ccc; padding: .3rem .8rem; text-align: right }}
th:first-child, td:first-child {{ text-align: left }}
.maps {{ display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)) }}
figure {{ margin: 0 }}
img {{ width: 100%; image-rendering: pixelated }}
figcaption, .note {{ color: #555; font-size: .9rem }}
@media print {{ .maps {{ grid-template-columns: 1fr 1fr }} figure {{ break-inside: avoid }} }}
</style></head><body>
{body}
</body></html>
"""
