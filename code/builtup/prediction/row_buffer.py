"""What a row of windows leaves for the next: in memory, or on disk where the scene is wide.

Memory must not grow with the scene's width (for 100,000 columns these rows are 26 MB), and what is
carried is read and written once a row of windows, which costs nothing beside the network.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import finalize

import torch
from torch import Tensor

from builtup.errors import OutputError

__all__ = ["CarriedRows"]

#: What is kept in memory: rows of 64 pixels of a scene of some 8,000 columns.
KEPT_BYTES = 2 * 2**20


class CarriedRows:
    """`rows` rows of a raster of `columns` columns, (bands, rows, columns) float32, in spans.

    A span is a run of columns; spans are put and taken whole, always cut at the same columns. What
    was never put is not defined. On an accelerator they stay in its memory. Raises OutputError
    where the folder of temporary files cannot hold them.
    """

    def __init__(self, bands: int, rows: int, columns: int, device: torch.device) -> None:
        self.bands, self.rows = bands, rows
        size = bands * rows * columns
        self._memory: Tensor | None = None
        if device.type != "cpu" or size * 4 <= KEPT_BYTES:
            self._memory = torch.zeros(size, device=device)
            return
        with _disk():
            # without a name: gone with the process, however that ends
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 (closed by finalize)
            finalize(self, file.close)
            self._file = file.fileno()
            os.truncate(self._file, size * 4)

    def take(self, x: int, width: int) -> Tensor:
        """The span (bands, rows, width) that begins at column x; it may be changed."""
        start, size = self._place(x, width)
        if self._memory is not None:
            flat = self._memory[start : start + size]
        else:
            flat = torch.empty(size)
            _read(self._file, flat.numpy().data.cast("B"), start * 4)
        return flat.view(self.bands, self.rows, width)

    def put(self, x: int, span: Tensor) -> None:
        """Keep a span that `take` gave, as it is now."""
        if self._memory is None:
            start, _ = self._place(x, span.shape[2])
            _write(self._file, span.numpy().data.cast("B"), start * 4)

    def _place(self, x: int, width: int) -> tuple[int, int]:
        per_column = self.bands * self.rows
        return per_column * x, per_column * width


def _read(file: int, into: memoryview, start: int) -> None:
    with _disk():
        while into:
            count = os.preadv(file, [into], start)
            if count == 0:
                raise OSError("the file was cut short")
            into, start = into[count:], start + count


def _write(file: int, values: memoryview, start: int) -> None:
    with _disk():
        while values:
            count = os.pwrite(file, values, start)
            values, start = values[count:], start + count


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        folder = Path(tempfile.gettempdir())
        problem = f"cannot hold the rows between windows ({e.strerror or e})"
        raise OutputError(folder, problem, "free space there, or set TMPDIR") from e
