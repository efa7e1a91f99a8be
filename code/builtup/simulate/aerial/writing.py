"""Writing a scene's files block by block: image, surface model, labels, truth."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter

from builtup.geo.rasters import create_raster, gdal_env
from builtup.geo.windows import Window, aligned
from builtup.jobs.files import atomic_path
from builtup.sensors.optical.layouts import dronedeploy
from builtup.simulate.aerial.flight import Flight
from builtup.simulate.aerial.imaging import BLOCK, NO_HEIGHT, Scene, elevation_step
from builtup.simulate.aerial.surface import CLASSES

__all__ = ["COLOURS", "scene_files", "write_scene"]

#: Colours of the classes in labels, and of what they leave out.
COLOURS, LEFT_OUT = dronedeploy.CLASSES.colours, dronedeploy.CLASSES.ignored[0]
#: Side of the files' tiles.
TILE = 256


def scene_files(name: str) -> dict[str, Path]:
    """The files of a scene by kind, relative to the data set's folder."""
    return {
        "image": Path("images", f"{name}-ortho.tif"),
        "elevation": Path("elevations", f"{name}-elev.tif"),
        "labels": Path("labels", f"{name}-label.png"),
        "truth": Path("truth", f"{name}-label.png"),
        "about": Path("truth", f"{name}.json"),
    }


def write_scene(
    flight: Flight, name: str, folder: Path, *, georeferenced: bool, about: Mapping[str, Any]
) -> None:
    """Write the `scene_files` of a flight; the last one holds what `about` says, and the share of
    each class in the truth."""
    counts = np.zeros(len(CLASSES), np.int64)
    with ExitStack() as stack:
        stack.enter_context(gdal_env())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        # the image last, so that it is there once the others are
        final = {
            kind: stack.enter_context(atomic_path(folder / path))
            for kind, path in reversed(scene_files(name).items())
        }
        # named after the file that `atomic_path` gave, so that a later run sweeps a killed one's
        drafts = {kind: Path(f"{final[kind]}.draft.tif") for kind in ("truth", "labels")}
        for draft in drafts.values():
            stack.callback(draft.unlink, missing_ok=True)
        profiles = _profiles(flight, georeferenced)
        with ExitStack() as files:
            out = {
                kind: files.enter_context(create_raster(drafts.get(kind, final[kind]), **profile))
                for kind, profile in profiles.items()
            }
            _write_blocks(flight, out, counts, georeferenced)
        for kind, draft in drafts.items():  # PNG can be written from its top to its bottom only
            rasterio.shutil.copy(draft, final[kind], driver="PNG")
        total = max(1, int(counts.sum()))
        shares = {c: round(n / total, 4) for c, n in zip(CLASSES, counts.tolist(), strict=True)}
        final["about"].write_text(json.dumps({**about, "shares": shares}, indent=1) + "\n")


def _profiles(flight: Flight, georeferenced: bool) -> dict[str, dict[str, Any]]:
    """How each raster is written; without a georeference all have the image's grid, for nothing
    else would say how they lie on each other."""
    size, pixel, spec = flight.size, flight.pixel, flight.city.spec
    step = elevation_step(pixel) if georeferenced else 1
    left, top = spec.corner[0] + flight.corner[0], spec.corner[1] - flight.corner[1]
    tiled = {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "interleave": "band"}
    square = {**tiled, "width": size, "height": size, "dtype": "uint8"}
    image = {**square, "count": 4, "photometric": "RGB", "alpha": "non-premultiplied"}
    model = {**tiled, "width": -(-size // step), "height": -(-size // step), "dtype": "float32"}
    model |= {"count": 1, "nodata": NO_HEIGHT, "compress": "ZSTD", "zstd_level": 1, "predictor": 3}
    if georeferenced:
        for profile, side in ((image, pixel), (model, pixel * step)):
            profile["crs"] = f"EPSG:{spec.epsg}"
            profile["transform"] = Affine(side, 0, left, 0, -side, top)
    labels = {**square, "count": 3}
    return {"image": image, "elevation": model, "labels": labels, "truth": labels}


def _write_blocks(
    flight: Flight, out: Mapping[str, DatasetWriter], counts: NDArray[np.int64], georeferenced: bool
) -> None:
    """Write all blocks, and count the pixels of each class of the truth."""
    step = elevation_step(flight.pixel)
    colours = np.zeros((256, 3), np.uint8)
    colours[:], colours[: len(COLOURS)] = LEFT_OUT, COLOURS
    scene = Scene(flight)
    for window in aligned(flight.size, flight.size, (BLOCK, BLOCK)):
        picture = scene.picture(window)
        out["image"].write(picture.image, window=window.rasterio)
        out["truth"].write(colours[picture.truth].transpose(2, 0, 1), window=window.rasterio)
        out["labels"].write(colours[picture.labels].transpose(2, 0, 1), window=window.rasterio)
        model = picture.elevation
        if georeferenced:
            place = Window(window.y // step, window.x // step, *model.shape)
        else:
            place = window
            model = np.repeat(np.repeat(model, step, 0), step, 1)
            model = model[: window.height, : window.width]
        out["elevation"].write(model, 1, window=place.rasterio)
        known = picture.truth[picture.truth < len(CLASSES)]
        counts += np.bincount(known, minlength=len(CLASSES))
