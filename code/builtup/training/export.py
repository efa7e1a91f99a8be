"""A trained network as an exported program: bands of a sensor in, probabilities out.

The program holds the graph and the weights; reading it needs torch alone, neither this package nor
a config, and runs no code of the file's (`torch.export`, a .pt2 archive of tensors and JSON).
"""

from __future__ import annotations

import copy
import logging
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbols

from builtup.errors import BuiltupError, one_line
from builtup.models.heads import class_logits
from builtup.models.segmenter import Segmenter
from builtup.sensors.catalogue import DEFAULT
from builtup.sensors.optical.cameras import TYPICAL_HEIGHT
from builtup.sensors.sensor import Sensor

__all__ = [
    "ExportError",
    "ProbabilityMap",
    "example_bands",
    "export",
    "load_program",
    "save_program",
]

log = logging.getLogger(__name__)

#: Height and width of the program's input are multiples of this.
MULTIPLE = 32
#: Above this the exported program and the network disagree.
TOLERANCE = 1e-4
_OF_SIZE_ONE = re.compile(r"(!=|>) 1$")
_MOST = 4096  # images of a batch, and multiples of 32 along a side


class ExportError(BuiltupError):
    """A network that torch cannot export with free sizes."""


class ProbabilityMap(nn.Module):
    """The probability of every class from a sensor's bands, as a network's user wants it.

    Input (N, bands, H, W) float32: the bands that the network reads, or all of the sensor's files
    (the others are not looked at), in the sensor's unit; no-data by its rule or NaN. Output
    (N, classes, H, W) float32: the softmax, NaN where the input has no data.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, bands: Tensor) -> Tensor:
        """Probabilities of a batch, see the class."""
        channels = self.segmenter.channels
        # a copy: whether a slice is one depends on the number of bands, which must stay free
        read = torch.stack([bands[:, i] for i in range(len(channels.inputs))], dim=1)
        probability = class_logits(self.segmenter(read)).float().softmax(1)
        return torch.where(channels.valid(read), probability, torch.nan)


def example_bands(
    batch: int = 1, bands: int = 2, height: int = 32, width: int = 32, sensor: Sensor = DEFAULT
) -> Tensor:
    """A small input that the program takes: noise, a bright square, a strip of zeros.

    (N, bands, H, W) float32 around the sensor's typical values, and behind its bands a typical
    height. Zeros in all bands are no-data to some sensors, and JSON knows no NaN.
    """
    generator = torch.Generator().manual_seed(0)
    typical = (*sensor.typical, *(TYPICAL_HEIGHT,) * (bands - len(sensor.typical)))
    mean = torch.tensor(typical)[:bands, None, None].repeat(1, height, width)
    mean[:, height // 4 : height // 2, width // 4 : width // 2] *= 8
    values = mean * torch.empty(batch, bands, height, width).exponential_(generator=generator)
    values[..., :2] = 0.0
    return values


def export(model: nn.Module) -> ExportedProgram:
    """Export `ProbabilityMap` of a trained Segmenter, on the CPU, free in all sizes.

    Batch and sides (multiples of 32) are free, and so is the number of bands where the network
    takes the bands that it reads or all. The program is run on sizes that it was not made with and
    compared to the model. Raises ExportError.
    """
    if not isinstance(model, Segmenter):
        raise ExportError(f"{type(model).__name__} is no Segmenter and cannot be exported")
    whole = ProbabilityMap(copy.deepcopy(model).cpu().float()).eval()
    sensor, counts = model.channels.sensor, model.channels.band_counts
    example = example_bands(2, counts[-1], 2 * MULTIPLE, 3 * MULTIPLE, sensor)
    sizes = {
        0: Dim("batch", min=1, max=_MOST),
        2: MULTIPLE * Dim("rows", min=1, max=_MOST),
        3: MULTIPLE * Dim("columns", min=1, max=_MOST),
    }
    if len(counts) > 1:
        sizes[1] = Dim("bands", min=counts[0], max=counts[-1])
    try:
        # without this, features 1 pixel wide are another case, and inputs of 32 pixels are refused
        with torch.no_grad(), symbols.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            program = torch.export.export(whole, (example,), dynamic_shapes=(sizes,))
        _drop_layout_guards(program)
        with torch.no_grad():
            difference = _difference(program.module(), whole)
    except Exception as e:  # torch.export raises what it likes; all mean the same
        raise ExportError(
            f"{type(model.network).__name__} cannot be exported ({one_line(e, 200)})"
        ) from e
    if not difference <= TOLERANCE:
        raise ExportError(
            f"{type(model.network).__name__}: the exported program differs by {difference:.2g}"
        )
    return program


def _drop_layout_guards(program: ExportedProgram) -> None:
    """Let the program take batches and features of size 1.

    Convolutions lay memory out otherwise there, and the exporter notes each as a condition. The
    values are the same, which `_difference` sees to; all other conditions stay.
    """
    codes = getattr(program, "_guards_code", [])
    program._guards_code = [code for code in codes if not _OF_SIZE_ONE.search(code)]


def _difference(program: nn.Module, whole: ProbabilityMap) -> float:
    """The largest difference at other sizes; infinite where the gaps differ."""
    channels = whole.segmenter.channels
    least, most = channels.band_counts[0], channels.band_counts[-1]
    largest = 0.0
    for batch, bands, rows, columns in ((1, least, 1, 1), (3, most, 2, 1), (1, least, 3, 2)):
        sides = rows * MULTIPLE, columns * MULTIPLE
        example = example_bands(batch, bands, *sides, channels.sensor)
        actual, expected = program(example), whole(example)
        if not torch.equal(actual.isnan(), expected.isnan()):
            return float("inf")
        largest = max(largest, float((actual - expected).nan_to_num().abs().max()))
    return largest


def save_program(program: ExportedProgram, path: Path) -> None:
    """Write a .pt2 archive; without the example that the program was made with."""
    program.example_inputs = None
    with warnings.catch_warnings():
        # of views that share their memory, such as weights in channels-last order
        warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
        torch.export.save(program, path)


def load_program(path: Path) -> nn.Module:
    """The program as a module, to be called with a batch of bands."""
    return torch.export.load(path).module()
