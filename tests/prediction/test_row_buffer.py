import errno
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from builtup.errors import OutputError
from builtup.prediction import row_buffer as carried
from builtup.prediction.network import predict_array
from builtup.prediction.row_buffer import CarriedRows
from builtup.prediction.windows import Stream

CPU = torch.device("cpu")


@pytest.fixture(params=[0, 10**9], ids=["on disk", "in memory"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "KEPT_BYTES", request.param)


@pytest.mark.usefixtures("kept")
def test_spans_come_back_as_they_were_put() -> None:
    rows = CarriedRows(2, 3, 12, CPU)
    spans = {x: torch.rand(2, 3, width) for x, width in ((0, 5), (5, 1), (6, 6))}
    for x, span in spans.items():
        held = rows.take(x, span.shape[2])
        held[:] = span
        rows.put(x, held)
    for x, span in spans.items():
        assert torch.equal(rows.take(x, span.shape[2]), span)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 60)),
    st.integers(1, 3),
    st.sampled_from([(8, 3), (16, 8), (9, 8)]),
    st.sampled_from([1, 2]),
)
def test_a_map_does_not_depend_on_where_the_rows_are_kept(
    shape: tuple[int, int], batch_size: int, cut: tuple[int, int], bands: int
) -> None:
    power = np.random.default_rng(0).random((2, *shape), dtype=np.float32)
    power[:, shape[0] // 2 :, :9] = np.nan

    def bumpy(values: torch.Tensor) -> torch.Tensor:
        place = torch.linspace(0, 0.5, cut[0])
        return values[:, :bands].nan_to_num(0) * 0.5 + place[:, None] * place

    stream = Stream(bumpy, bands=bands, window=cut[0], overlap=cut[1], batch_size=batch_size)
    found = []
    for most in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(carried, "KEPT_BYTES", most)
            found.append(predict_array(power, stream))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["pwrite", "truncate"])
def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(carried, "KEPT_BYTES", 0)
    monkeypatch.setattr(carried.os, name, full)
    with pytest.raises(
        OutputError, match=r"No space left on device\); free space there, or set TM"
    ):
        CarriedRows(1, 2, 3, CPU).put(0, torch.zeros(1, 2, 3))


def test_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "KEPT_BYTES", 0)
    rows = CarriedRows(1, 2, 3, CPU)
    file: int = rows._file
    assert os.fstat(file).st_nlink == 0
    del rows
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
