"""geoai's `predict_geotiff`: windowed reads, spline blending, its own write.

The pipeline that its module `geoai.inference` offers for any PyTorch model and rasters larger than
memory; normalisation and rounding are its hooks `preprocess_fn` and `postprocess_fn`. It has no
notion of a scene's no-data: the second hook reads the first band once more and sets 255. It is
given one class, the probability of the building, because it keeps float64 sums for every class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rasterio
from geoai.inference import predict_geotiff
from numpy.typing import NDArray
from peers.null_model import NODATA, BuildingProbability, make_network, normalise


def load(image: str, output: str, window: int, overlap: int, batch_size: int, threads: int) -> Any:
    """The network and the other arguments."""
    model = BuildingProbability(make_network(threads)).eval()
    return model, image, output, window, overlap, batch_size


def run(state: Any) -> dict[str, float]:
    """Predict and write; work in megapixels."""
    model, image, output, window, overlap, batch_size = state
    size: list[int] = []

    def levels(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
        probability *= 254
        found = np.rint(probability, out=probability).astype(np.uint8)
        with rasterio.open(image) as scene:
            for _, place in scene.block_windows(1):
                part = found[0][place.toslices()]
                part[~np.isfinite(scene.read(1, window=place))] = NODATA
        size.append(found.size)
        return found

    predict_geotiff(
        model,
        image,
        output,
        tile_size=window,
        overlap=overlap,
        batch_size=batch_size,
        num_classes=1,
        output_dtype="uint8",
        output_nodata=NODATA,
        preprocess_fn=normalise,
        postprocess_fn=levels,
        device="cpu",
        compress="zstd",
        verbose=False,
    )
    return {"work": size[0] / 1e6}
