"""Windowed prediction as a stream: windows in, blended 8-bit probabilities out, in flat memory.

A raster is covered by equal windows, evenly spread along each axis (`AxisBlend`), the last flush
with the edge. Windows are taken row by row, in a row some neighbours (a group, at most
`batch_size`) at a time. Here window 8, overlap 2, four windows in a row, two in a group:

       x  0     6 8   12 14 18 20    26
    w0    ######%%                        #  seen by this window alone: kept as it is
    w1          %%####%%                  %  seen by two: blended
    w2                %%####%%
    w3                      %%######
          group 0 (w0, w1) reads columns 0…14, finishes 0…12; 12…14 go to the right
                      group 1 (w2, w3) reads 12…26, and what came from the left; finishes all

       y  0  ##########################   rows 0…6 of the first row of windows: finished, written
          6  %%%%%%%%%%%%%%%%%%%%%%%%%%   rows 6…8 go below, where the next row is mixed in

So what is kept between groups are the columns to the right (bands, window, overlap) and the rows
below (bands, overlap, width of the raster; in a file where they are many), not a strip of the
scene. Overlaps are blended by
running means, first across, then down: mean += share · (value − mean), where a pixel's share is
its weight over the sum of the weights so far. Weights are products of a row's and a column's, so
the order gives the mean by weight, no sum of weights is stored, and where only one window looks
nothing is computed. Blending is in float32 on the network's device; rounding to 8 bits is last.

A raster smaller than a window goes on as in a mirror (`builtup.prediction.beyond`).

A pixel is valid where no band is NaN; of layers beside the bands, such as heights, any may be. That
is a property of the scene, so it has the same validity in every window, takes no part in the
weights, and is applied when the pixel is finished.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import IO, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from builtup.errors import BuiltupError
from builtup.geo.blend import AxisBlend
from builtup.geo.prefetch import running_ahead
from builtup.geo.probability import NODATA, SCALE
from builtup.geo.windows import Window
from builtup.prediction.beyond import mirrored, side_of
from builtup.sensors.catalogue import DEFAULT

__all__ = ["Stream", "ahead", "predict_stream", "windows_of"]

#: Bytes of what is left for the next row that are held in memory: of two classes on 24,576 columns
#: with an overlap of 64 there are 6 MB, of six classes with one of 256 there are 150.
HELD = 8_000_000

Mask = NDArray[np.bool_]
Item = TypeVar("Item")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")
Read = Callable[[Window], NDArray[np.float32]]
Write = Callable[[Window, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Stream:
    """How a raster is cut and what predicts a batch of windows.

    `probabilities` maps values as they are in memory (B, inputs, window, window), float32, NaN
    where invalid, on `device`, to probabilities (B, bands, window, window), float32 (by PyTorch
    also of less than a window, where a raster is smaller), with one band more where the network has
    a presence head (see `Probabilities`). `batch_size` windows go through together. Where windows
    overlap (by `overlap` pixels at least), the weight of a prediction rises from its window's edge
    (`blend` is "ramp"), falls from its centre as a Gaussian does ("gaussian"), or all weigh the
    same ("mean"). `backend` is what `probabilities` runs on. `decoders` processes read ahead, where
    there are files to be read; with 0 a thread does. A pixel is valid where the first `required`
    inputs are, all where it is None.
    """

    probabilities: Callable[[Tensor], Tensor]
    bands: int = 1
    inputs: int = len(DEFAULT.read)
    window: int = 512
    overlap: int = 64
    batch_size: int = 4
    blend: str = "ramp"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    backend: str = "torch"
    decoders: int = 0
    required: int | None = None

    @property
    def values(self) -> int:
        """The most values that are read at once: of all inputs, for a group of windows."""
        row = self.window + (self.batch_size - 1) * (self.window - self.overlap)
        return self.inputs * self.window * row


@torch.inference_mode()
def predict_stream(
    read: Read,
    write: Write,
    width: int,
    height: int,
    stream: Stream,
    *,
    wanted: Callable[[Window], bool] | None = None,
    presence: Callable[[Tensor], None] = lambda largest: None,
) -> int:
    """Predict a raster of `width` x `height` pixels; return the number of windows predicted.

    `read` gives power (inputs, h, w), float32, NaN where invalid; it is called from another thread,
    one group of windows ahead, and so is `wanted`. `write` takes (bands, h, w), uint8,
    round(254 · p) or 255, each pixel once; it is called from a third thread, one group behind, in
    order. Windows without a valid pixel are skipped, and those that are not `wanted`: the pixels
    that these hold must not be made use of. Of a network with a presence head `presence` is given
    the largest probability of each group of windows, a scalar on the device.
    """
    cut = _Cut.of(width, height, stream)
    blend = _Blend(cut, stream)
    groups = cut.groups(stream.batch_size)
    windows = 0

    def take(group: _Group) -> _Taken:
        return _take(read, group, cut, stream, wanted)

    def finish(window: Window, block: Tensor, valid: Mask) -> None:
        write(window, _to_bytes(block, valid))

    # what belongs to no window is left to the other threads: this one feeds the network
    with _behind(finish) as put:
        for group, taken in zip(groups, ahead(take, groups), strict=True):
            windows += sum(taken.alive)
            power = taken.power.to(stream.device, non_blocking=True)
            parts, present = _predict(power, taken.offsets, taken.alive, cut.columns.size, stream)
            if present is not None:
                presence(present)
            block = blend.down(group, blend.across(group, parts))
            part = Window(taken.place.y, taken.place.x, block.shape[1], block.shape[2])
            put(part, block, taken.valid[: part.height, : part.width])
    return windows


def windows_of(width: int, height: int, stream: Stream) -> list[Window]:
    """What `predict_stream` reads of a raster, in its order."""
    cut = _Cut.of(width, height, stream)
    return [cut.place(group) for group in cut.groups(stream.batch_size)]


@dataclass(frozen=True)
class _Group:
    """Neighbouring windows of one row, predicted together: window indexes [first, last]."""

    row: int
    first: int
    last: int


@dataclass(frozen=True)
class _Cut:
    """A raster's windows: those of its rows and columns, each with each."""

    rows: AxisBlend
    columns: AxisBlend

    @classmethod
    def of(cls, width: int, height: int, stream: Stream) -> _Cut:
        """The windows of a raster of `width` x `height` pixels."""
        how = (stream.window, stream.overlap, stream.blend)
        return cls(AxisBlend.of(height, *how), AxisBlend.of(width, *how))

    def groups(self, batch_size: int) -> list[_Group]:
        """All windows in their order, at most `batch_size` in a group; groups are about alike."""
        count = -(-len(self.columns) // batch_size)
        edges = [i * len(self.columns) // count for i in range(count + 1)]
        return [
            _Group(row, start, end - 1)
            for row in range(len(self.rows))
            for start, end in pairwise(edges)
        ]

    def place(self, group: _Group) -> Window:
        """The pixels that a group's windows cover."""
        x = self.columns.offsets[group.first]
        width = self.columns.offsets[group.last] + self.columns.size - x
        return Window(self.rows.offsets[group.row], x, self.rows.size, width)


def ahead(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Call `read` for each item, in another thread, while the result before is worked on."""
    with running_ahead(read, items) as results:
        yield from results


@contextmanager
def _behind(write: Callable[Arguments, None]) -> Iterator[Callable[Arguments, None]]:
    """Call `write` in another thread, one call at a time; its error comes with the next call.

    At most one result waits to be written, so memory stays flat where writing is slow.
    """
    waiting: Future[None] | None = None

    def put(*arguments: Arguments.args, **more: Arguments.kwargs) -> None:
        nonlocal waiting
        if waiting is not None:
            waiting.result()
        waiting = thread.submit(write, *arguments, **more)

    with ThreadPoolExecutor(1) as thread:
        yield put
        if waiting is not None:
            waiting.result()


@dataclass(frozen=True)
class _Taken:
    """The pixels of a group: power (inputs, h, w), in pinned memory if a GPU is next, and validity.

    `offsets` are the columns in it where the windows begin; `alive` says which are predicted.
    """

    place: Window
    power: Tensor
    valid: Mask
    offsets: Sequence[int]
    alive: Sequence[bool]


def _take(
    read: Read,
    group: _Group,
    cut: _Cut,
    stream: Stream,
    wanted: Callable[[Window], bool] | None,
) -> _Taken:
    place, width = cut.place(group), cut.columns.size
    values = read(place)
    valid = _valid(values[: stream.required])
    offsets = [cut.columns.offsets[i] - place.x for i in range(group.first, group.last + 1)]
    alive = [
        (wanted is None or wanted(Window(place.y, place.x + x, place.height, width)))
        and bool(valid[:, x : x + width].any())
        for x in offsets
    ]
    power = torch.from_numpy(values)
    if stream.device.type == "cuda":
        power = power.pin_memory()
    return _Taken(place, power, valid, offsets, alive)


def _valid(power: NDArray[np.float32]) -> Mask:
    """Pixels (H, W) where no band is NaN."""
    total = power[0] if len(power) == 1 else power[0] + power[1]
    for band in power[2:]:
        total = total + band
    valid: Mask = total == total
    return valid


def _predict(
    power: Tensor, offsets: Sequence[int], alive: Sequence[bool], width: int, stream: Stream
) -> tuple[list[Tensor | None], Tensor | None]:
    """Probabilities (bands, height, width) of each window, None for those without a valid pixel;
    and the largest presence of them, None where the network has no such head."""
    chosen = [x for x, yes in zip(offsets, alive, strict=True) if yes]
    if not chosen:
        return [None] * len(offsets), None
    channels, height, _ = power.shape
    side = side_of(max(height, width), stream.window, stream.backend)
    batch = torch.empty((len(chosen), channels, side, side), device=power.device)
    for i, x in enumerate(chosen):
        batch[i] = mirrored(power[:, :, x : x + width], side)
    found = stream.probabilities(batch)
    present = found[:, stream.bands, 0, 0].amax() if found.shape[1] > stream.bands else None
    predicted = iter(found[:, : stream.bands, :height, :width])
    return [next(predicted) if yes else None for yes in alive], present


class _Blend:
    """The running means, and what of them is carried from group to group and row to row.

    All of it is float32 on the stream's device: `right` (bands, window, columns) for the group to
    the right, empty at the start of a row; `below` for the row below. What was never written there
    is not looked at.
    """

    def __init__(self, cut: _Cut, stream: Stream) -> None:
        self.rows, self.columns, self.stream = cut.rows, cut.columns, stream
        device = stream.device
        self.across_shares = [torch.from_numpy(s).to(device) for s in cut.columns.shares]
        self.down_shares = [torch.from_numpy(s).to(device)[:, None] for s in cut.rows.shares]
        self.right = torch.empty((stream.bands, cut.rows.size, 0), device=device)
        self.below = _Below(stream.bands, cut.rows.most_carried, cut.columns.length, device)

    def across(self, group: _Group, parts: Sequence[Tensor | None]) -> Tensor:
        """Mix a group's windows; return the columns (bands, h, w) that no later group will see."""
        start = self.columns.offsets[group.first]
        end = self.columns.offsets[group.last] + self.columns.size
        shape = (self.stream.bands, self.rows.size, end - start)
        span = torch.empty(shape, device=self.stream.device)
        span[:, :, : self.right.shape[2]] = self.right
        for index, part in enumerate(parts, group.first):
            x = self.columns.offsets[index] - start
            seen = self.columns.overlap(index)
            if part is None:  # all its pixels are invalid: any finite value will do
                span[:, :, x + seen : x + self.columns.size] = 0
                continue
            if seen:
                share = self.across_shares[index]
                span[:, :, x : x + seen].lerp_(part[:, :, :seen], share)
            span[:, :, x + seen : x + self.columns.size] = part[:, :, seen:]
        finished = self.columns.offsets[group.last] - start + self.columns.finished(group.last)
        self.right = span[:, :, finished:].clone()
        return span[:, :, :finished]

    def down(self, group: _Group, block: Tensor) -> Tensor:
        """Mix a block with what the rows above left; return the rows that are finished."""
        x = self.columns.offsets[group.first]
        below = self.below.of(x, block.shape[2])
        seen = self.rows.overlap(group.row)
        if seen:
            above = below[:, :seen]
            above.lerp_(block[:, :seen], self.down_shares[group.row])
            block[:, :seen] = above
        finished = self.rows.finished(group.row)
        below[:, : self.rows.size - finished] = block[:, finished:]
        self.below.put(x, below)
        return block[:, :finished]


class _Below:
    """What rows of windows leave for the next, (bands, rows, columns) float32, by blocks.

    In memory, or from HELD bytes on (many classes, a wide scene, a large overlap) in a file without
    a name: what is held must not grow with the scene. Blocks are cut at the same columns in every
    row, so each has its place in one piece.
    """

    def __init__(self, bands: int, rows: int, columns: int, device: torch.device) -> None:
        self.bands, self.rows = bands, rows
        size = bands * rows * columns
        self._file: IO[bytes] | None = None
        if device.type == "cpu" and 4 * size > HELD:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed with the last reference
            os.truncate(self._file.fileno(), 4 * size)
        else:
            self._held = torch.zeros(size, device=device)

    def of(self, x: int, width: int) -> Tensor:
        """What is left of `width` columns from x on, (bands, rows, width)."""
        shape = (self.bands, self.rows, width)
        start, count = self._place(x, width)
        if self._file is None:
            return self._held[start : start + count].view(shape)
        values = np.empty(shape, np.float32)
        os.preadv(self._file.fileno(), [values.data], 4 * start)
        return torch.from_numpy(values)

    def put(self, x: int, values: Tensor) -> None:
        """Leave what `of` gave and was changed since."""
        if self._file is not None:
            start, _ = self._place(x, values.shape[2])
            os.pwrite(self._file.fileno(), values.numpy().tobytes(), 4 * start)

    def _place(self, x: int, width: int) -> tuple[int, int]:
        per_column = self.bands * self.rows
        return per_column * x, per_column * width


@torch.inference_mode()
def _to_bytes(block: Tensor, valid: Mask) -> NDArray[np.uint8]:
    """round(254 · p), 255 where invalid; `block` is used up."""
    invalid = torch.from_numpy(~valid).to(block.device)
    scaled = block.mul_(SCALE).round_().masked_fill_(invalid, float(NODATA))
    if not bool(torch.isfinite(scaled.sum())):
        raise BuiltupError(
            "the network gives NaN or infinite probabilities on valid pixels; "
            "check its weights and normalisation, or set amp=False"
        )
    return scaled.to(torch.uint8).cpu().numpy()
