"""A trained network as a `Stream`: on its device, checked, run by a backend, views averaged.

model        power (B, inputs, H, W) → logits (B, classes, H, W)
Probabilities  logits / temperature → softmax; of two classes the mapped one alone
backend      PyTorch, or OpenVINO, that runs both
views        all of a batch's views together (B · views, …), their probabilities averaged
Halving      batches in parts where the device's memory does not hold them
Stream       cuts a raster into windows, and blends what comes out (windows.py)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from builtup.config.device import pick_device
from builtup.data.transforms import resize_classes, resize_power
from builtup.errors import BuiltupError, ConfigError, one_line
from builtup.geo.blend import BLENDS
from builtup.geo.rasters import as_nan
from builtup.geo.windows import Window
from builtup.models.channels import required_of
from builtup.prediction.backends.choose import Task, choose_backend
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.decoders import number_of_decoders
from builtup.prediction.tta import average_views, views_of
from builtup.prediction.windows import Stream, predict_stream
from builtup.sensors.classes import BUILT_UP, Classes

__all__ = [
    "Halving",
    "make_stream",
    "mark_invalid",
    "predict_array",
    "predict_seen",
    "resampled",
    "within_memory",
]

log = logging.getLogger(__name__)

T = TypeVar("T")
_REMEDY = "use a smaller window, tta=none, or device=cpu"


def make_stream(
    model: nn.Module,
    *,
    classes: Classes = BUILT_UP,
    window: int = 512,
    overlap: int = 64,
    batch_size: int = 4,
    tta: str = "none",
    device: str | torch.device = "auto",
    amp: bool = True,
    blend: str = "ramp",
    temperatures: tuple[float, ...] = (1.0,),
    backend: str = "torch",
    quantised: Path | None = None,
    decoders: int | None = None,
) -> Stream:
    """Make what predicts windows from `model`: (B, inputs, H, W) to logits (B, classes, H, W).

    The model is moved to the device (channels last where it filters) and set to evaluation. Two
    classes give one band, the mapped class's probability; more give a band each. `amp` (half
    precision) acts on CUDA only. Logits are divided by a temperature (Guo et al. 2017) before
    views are averaged; of several each gives its own bands. `backend` is torch, openvino,
    openvino-int8 (which needs `quantised`, see `builtup.prediction.backends.int8`) or auto.
    `decoders` processes read ahead: by default those that the cores allow, at most 8, for a GPU,
    and none for a CPU, for which a thread is enough. A batch that the device's memory does not
    hold is halved. Raises ConfigError for settings that make no sense, BuiltupError where a
    backend does not agree with PyTorch.
    """
    if window < 1 or not 0 <= overlap < window:
        raise ConfigError(f"window={window} overlap={overlap}: overlap must be below the window")
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size}: must be at least 1")
    if blend not in BLENDS:
        raise ConfigError(f"blend={blend!r}: unknown; use one of {', '.join(BLENDS)}")
    if not temperatures or min(temperatures) <= 0:
        raise ConfigError(f"temperature={temperatures}: must be above 0")
    place = pick_device(device) if isinstance(device, str) else device
    if decoders is not None and decoders < 0:
        raise ConfigError(f"decoders={decoders}: must be at least 0")
    if decoders is None:
        decoders = number_of_decoders(place.type, _processes_here(place))
    views = views_of(tta)
    model = model.to(place).eval()
    if any(isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1 for m in model.modules()):
        # four times as fast on a CPU for real networks; 1x1 convolutions only lose by it
        model = model.to(memory_format=torch.channels_last)
    network = Probabilities(model, temperatures, classes.mapped_index).eval()
    half = amp and place.type == "cuda"
    task = Task(network, window, place, half, quantised)
    backend, probabilities = choose_backend(backend, task)

    return Stream(
        Halving(lambda power: average_views(probabilities, power, views)),
        bands=len(temperatures) * len(classes.bands),
        inputs=network.inputs,
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        blend=blend,
        device=place,
        backend=backend,
        decoders=decoders,
        required=required_of(model),
    )


def _processes_here(place: torch.device) -> int:
    """How many processes of this machine predict together."""
    if place.type != "cuda":
        return 1  # nobody asks, and ignite takes a second of CPU time to import
    import ignite.distributed as idist

    return int(idist.get_nproc_per_node())


def predict_array(power: NDArray[np.float32], stream: Stream) -> NDArray[np.uint8]:
    """Predict an array (inputs, H, W), NaN where invalid: (bands, H, W) uint8, see `Stream`."""
    power = mark_invalid(power)
    _, height, width = power.shape
    out = np.empty((stream.bands, height, width), np.uint8)

    def read(window: Window) -> NDArray[np.float32]:
        rows, columns = window.slices
        return power[:, rows, columns]

    def write(window: Window, values: NDArray[np.uint8]) -> None:
        rows, columns = window.slices
        out[:, rows, columns] = values

    predict_stream(read, write, width, height, stream)
    return out


def predict_seen(
    power: NDArray[np.float32], stream: Stream, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """`predict_array` of an array that is seen in so many rows and columns (`PixelSizes.shape`);
    the map is brought back to its own pixels, by the nearest."""
    own = power.shape[1], power.shape[2]
    values = predict_array(resampled(power, shape, stream.required), stream)
    if values.shape[1:] == own:
        return values
    back: NDArray[np.uint8] = resize_classes(torch.from_numpy(values), own).numpy()
    return back


def resampled(
    power: NDArray[np.float32], shape: tuple[int, int], required: int | None
) -> NDArray[np.float32]:
    """An array (inputs, H, W), NaN where invalid, in so many rows and columns.

    What of the inputs follows the first `required` (None: all) may be unknown where these are
    not.
    """
    if power.shape[1:] == shape:
        return power
    values = torch.from_numpy(mark_invalid(power))
    required = len(values) if required is None else required
    parts = [values[:required], *values[required:]]
    joined: NDArray[np.float32] = torch.cat(
        [resize_power(v.reshape(-1, *v.shape[-2:]), shape) for v in parts]
    ).numpy()
    return joined


def mark_invalid(power: NDArray[np.float32], nodata: float | None = None) -> NDArray[np.float32]:
    """Make what is not finite, or the declared no-data value, NaN."""
    if nodata is not None and not np.isnan(nodata):
        power = as_nan(power, nodata)
    infinite = np.isinf(power)
    return np.where(infinite, np.float32(np.nan), power) if infinite.any() else power


# --- memory of the device -----------------------------------------------------------------------


def within_memory(name: str, work: Callable[[], T]) -> T:
    """What `work` returns; BuiltupError where the device's memory does not hold the rest of it.

    That is the network itself, or what is held beside its batches.
    """
    try:
        return work()
    except torch.OutOfMemoryError as e:
        reason = one_line(e, 120)
    # outside of the handler nothing holds on to what did not fit
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise BuiltupError(f"{name}: out of memory on the device ({reason}); {_REMEDY}")


class Halving:
    """Probabilities of a batch, in as many parts as the device's memory asks for.

    Once a batch was halved, later ones are not tried whole again. Raises BuiltupError where even
    one window does not fit.
    """

    def __init__(self, probabilities: Callable[[Tensor], Tensor]) -> None:
        self.probabilities = probabilities
        self.most: int | None = None

    def __call__(self, power: Tensor) -> Tensor:
        """(B, inputs, H, W) power to (B, bands, H, W) probabilities."""
        parts = []
        start = 0
        while start < len(power):
            size = min(self.most or len(power), len(power) - start)
            part = self._try(power[start : start + size])
            if part is None:
                self._halve(size, power)
                continue
            parts.append(part)
            start += size
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _try(self, part: Tensor) -> Tensor | None:
        try:
            return self.probabilities(part)
        except torch.OutOfMemoryError:
            return None  # outside of the handler nothing holds on to what did not fit

    def _halve(self, size: int, power: Tensor) -> None:
        if power.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            side = power.shape[-1]
            raise BuiltupError(
                f"out of memory on {power.device}: one window of {side} x {side} does not fit; "
                + _REMEDY
            )
        self.most = size // 2
        log.warning(
            "out of memory on %s: batches of %d windows instead of %d; set batch_size=%d",
            *(power.device, self.most, size, self.most),
        )
