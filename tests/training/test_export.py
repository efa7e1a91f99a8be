"""Exported programs: the same as the network at any size, in one file that holds no code."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from builtup.models.channels import Channels
from builtup.models.segmenter import Segmenter
from builtup.training.export import (
    ExportError,
    ProbabilityMap,
    example_bands,
    export,
    load_program,
    save_program,
)


def segmenter(network: nn.Module, channel_set: str = "db_3b") -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(Channels(channel_set, (-20.0,) * 3, (6.0,) * 3), network).eval()


class Tiny(nn.Sequential):
    stride = 2

    def __init__(self, classes: int = 2) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(4, classes, 1),
        )


def test_probabilities_sum_to_one_and_gaps_are_nan() -> None:
    power = example_bands(2, 3, 32, 64)
    power[0, :, 10:12] = torch.nan
    power[1, :, 20] = -9999.0
    probability = ProbabilityMap(segmenter(Tiny(3)))(power)
    gaps = torch.zeros(2, 32, 64, dtype=torch.bool)
    gaps[:, :, :2] = True  # 0 in both polarisations
    gaps[0, 10:12] = gaps[1, 20] = True
    assert torch.equal(probability.isnan().all(1), gaps)
    assert torch.equal(probability.isnan().any(1), gaps)
    total = probability.sum(1)[~gaps]
    assert torch.allclose(total, torch.ones_like(total))


def test_a_saved_program_is_the_network_for_any_batch_height_and_width(tmp_path: Path) -> None:
    model = segmenter(Tiny()).to(memory_format=torch.channels_last)
    save_program(export(model), tmp_path / "model.pt2")
    program = load_program(tmp_path / "model.pt2")
    for shape in ((1, 2, 32, 32), (1, 3, 96, 32), (5, 2, 64, 160)):
        power = example_bands(*shape)
        power[:, :, -3:] = torch.nan
        wanted = ProbabilityMap(model)(power)
        torch.testing.assert_close(program(power), wanted, equal_nan=True)


def test_sides_that_are_no_multiple_of_the_stride_are_refused() -> None:
    network = Tiny()
    network.stride = 32
    program = export(segmenter(network)).module()
    with pytest.raises((AssertionError, RuntimeError)):
        program(example_bands(1, 2, 48, 32))


def test_a_program_needs_neither_this_package_nor_its_config(tmp_path: Path) -> None:
    save_program(export(segmenter(Tiny())), tmp_path / "model.pt2")
    code = (
        "import sys, torch\n"
        f"model = torch.export.load({str(tmp_path / 'model.pt2')!r}).module()\n"
        "print(tuple(model(torch.rand(3, 2, 32, 64)).shape))\n"
        "assert 'builtup' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "(3, 2, 32, 64)", done.stderr


class Capricious(nn.Module):
    """What it does depends on the values: no graph says that."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :2] if float(x.sum()) > 0 else -x[:, :2]


def test_what_cannot_be_exported_is_one_line() -> None:
    with pytest.raises(ExportError, match="Capricious cannot be exported") as refused:
        export(segmenter(Capricious()))
    assert "\n" not in str(refused.value)
    with pytest.raises(ExportError, match="no Segmenter"):
        export(nn.Identity())


class Deep(nn.Sequential):
    """Its deepest features are 1 pixel wide where the input has 32."""

    stride = 32

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, padding=1, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1, stride=16),
            nn.Upsample(scale_factor=32),
            nn.Conv2d(4, 2, 1),
        )


def deep() -> Segmenter:
    return segmenter(Deep()).to(memory_format=torch.channels_last)


def test_features_and_batches_of_size_1_are_exported() -> None:
    assert export(deep()).module()(example_bands(1, 2, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize(
    ("hook", "nothing"),
    [
        ("_drop_layout_guards", lambda program: None),
        ("symbols", SimpleNamespace(patch=lambda **settings: nullcontext())),
    ],
)
def test_torch_refuses_them_by_itself(
    monkeypatch: pytest.MonkeyPatch, hook: str, nothing: object
) -> None:
    """Where this fails, torch has learnt it: the hook into its insides can go."""
    monkeypatch.setattr(f"builtup.training.export.{hook}", nothing)
    with pytest.raises(ExportError):
        export(deep())
