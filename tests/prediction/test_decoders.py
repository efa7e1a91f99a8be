"""Reading in other processes gives what reading here gives, and fails as clearly."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from builtup.errors import BuiltupError, InputError
from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.prediction import decoders
from builtup.prediction.decoders import decoding, number_of_decoders
from builtup.prediction.network import make_stream
from builtup.prediction.scene import predict_scene
from builtup.sensors.radar.merge import generate_3b_images
from decoded import broken_at_ten, killed_at_ten, locked, marking, numbered, opened
from helpers import speckle, write_scene

ITEMS = list(range(20))
LARGEST = 3 * len(ITEMS)
DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_all_items_in_their_order_each_valid_until_the_second_next(count: int) -> None:
    kept: list[NDArray[np.float32]] = []
    with decoding(partial(opened, numbered), ITEMS, count, LARGEST) as read:
        for item in ITEMS:
            kept.append(read(item))
            for lent, of in zip(kept[-2:], range(max(0, item - 1), item + 1), strict=True):
                np.testing.assert_array_equal(lent, numbered(of))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="the system does not list them")
def test_no_descriptor_is_left() -> None:
    counts = []
    for _ in range(3):  # the first time Python begins to track resources
        with decoding(partial(opened, numbered), ITEMS, 2, LARGEST) as read:
            for item in ITEMS:
                read(item)
        counts.append(len(list(DESCRIPTORS.iterdir())))
    assert counts[2] == counts[1]


def test_it_is_read_in_other_processes_ahead_of_being_asked_for(tmp_path: Path) -> None:
    with decoding(partial(opened, partial(marking, tmp_path)), ITEMS, 2, LARGEST) as read:
        read(0)
        read(1)
        processes = {int(p.read_text()) for p in tmp_path.iterdir()}
        assert os.getpid() not in processes
        for item in ITEMS[2:]:
            assert read(item)[0, 0] == item
    assert len(list(tmp_path.iterdir())) == len(ITEMS)


@pytest.mark.parametrize("count", [0, 2])
def test_an_error_is_raised_in_its_turn(count: int) -> None:
    found = []
    with (
        pytest.raises(InputError, match=r"x\.tif: cannot be read to its end; copy it again"),
        decoding(partial(opened, broken_at_ten), ITEMS, count, LARGEST) as read,
    ):
        for item in ITEMS:
            found.append(read(item)[0, 0])
    assert found == list(range(10))


def test_files_that_cannot_be_opened_are_named() -> None:
    with pytest.raises(InputError, match="locked"), decoding(locked, ITEMS, 2, LARGEST) as read:
        read(0)


def test_a_killed_process_is_one_line() -> None:
    with (
        pytest.raises(BuiltupError, match=r"was killed, perhaps for its memory; .* decoders=0"),
        decoding(partial(opened, killed_at_ten), ITEMS, 2, LARGEST) as read,
    ):
        for item in ITEMS:
            read(item)


def test_another_order_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="1 is asked for, 0 was read"),
        decoding(partial(opened, numbered), ITEMS, 2, LARGEST) as read,
    ):
        read(1)


def test_memory_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "truncate", full)
    with (
        pytest.raises(BuiltupError, match=r"no 0 MB of memory .*use a smaller batch_size, or"),
        decoding(partial(opened, numbered), ITEMS, 2, LARGEST),
    ):
        raise AssertionError("never reached")


def test_few_items_are_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "worker_pool", None)
    with decoding(partial(opened, numbered), ITEMS[:3], 8, LARGEST) as read:
        assert [read(item)[0, 0] for item in ITEMS[:3]] == [0, 1, 2]


def test_a_gpu_gets_what_the_cores_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(32), raising=False)
    assert number_of_decoders("cpu") == 0
    assert [number_of_decoders("cuda", n) for n in (1, 4, 8, 64)] == [8, 7, 3, 0]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 3-band scene with a gap."""
    folder = tmp_path_factory.mktemp("scene")
    vv, vh = speckle((200, 300), 0.1, 1), speckle((200, 300), 0.02, 2)
    vv[50:90, 100:260] = vh[50:90, 100:260] = np.nan
    write_scene(folder / "in", vv=vv, vh=vh)
    generate_3b_images(input_path=folder / "in", output_path=folder / "out")
    (found,) = (folder / "out").rglob("*.tif")
    return found


def predicted(image: Path, output: Path, count: int) -> bytes:
    torch.manual_seed(0)
    model = Segmenter(Channels("db_3b", (-15.0,) * 3, (5.0,) * 3), nn.Conv2d(3, 2, 3, padding=1))
    cut = {"window": 32, "overlap": 8, "batch_size": 3}
    stream = make_stream(model, device="cpu", decoders=count, **cut)  # type: ignore[arg-type]
    predict_scene(image, stream, output)
    return output.read_bytes()


def test_a_scene_comes_out_as_the_same_bytes(image: Path, tmp_path: Path) -> None:
    alone = predicted(image, tmp_path / "alone.tif", 0)
    assert predicted(image, tmp_path / "together.tif", 2) == alone


def test_a_truncated_scene_is_named_and_leaves_nothing(image: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.tif"
    short.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(InputError, match=r"short\.tif: .*copy or download it again"):
        predicted(short, tmp_path / "out" / "prob.tif", 2)
    assert not list((tmp_path / "out").glob("*"))
