"""A student begins at the network that made its labels, and keeps its statistics."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from builtup.errors import InputError
from builtup.models.batch_statistics import Moments
from builtup.prediction.adapt import Adapted
from builtup.prediction.student_start import student_start


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))


def adapted(folder: Path, name: str, mean: float, count: int) -> None:
    folder.mkdir(exist_ok=True)
    moments = {"1": Moments(count, np.full(3, mean), np.full(3, 1.0))} if count else {}
    Adapted(moments, "far", "scene", 0.8, 3.0, 100, 1, (name,)).write(
        folder / f"{name}.safetensors"
    )


def test_the_statistics_are_those_of_all_scenes_and_training_keeps_them(tmp_path: Path) -> None:
    for name, mean, count in (("a", 1.0, 100), ("b", 4.0, 200), ("near", 9.0, 0)):
        adapted(tmp_path / "adapted", name, mean, count)
    before = net()
    student = student_start(copy.deepcopy(before), str(tmp_path / "adapted")).train()
    norm = student[1]  # type: ignore[index]
    assert norm.running_mean.tolist() == [3.0] * 3  # weighted by what was looked at
    assert norm.running_var.tolist() == [3.0] * 3  # 1 + 1/3 · 2/3 · 3²
    images = 5 + torch.randn(2, 2, 8, 8)
    student(images).sum().backward()
    assert norm.running_mean.tolist() == [3.0] * 3 and norm.weight.grad is not None
    twin = copy.deepcopy(student).train()  # as the moving average is
    torch.testing.assert_close(twin(images[:1]), student.eval()(images)[:1])


def test_without_an_adaptation_it_keeps_its_own(tmp_path: Path) -> None:
    adapted(tmp_path / "adapted", "near", 1.0, 0)
    for folder in ("", str(tmp_path / "adapted"), str(tmp_path / "absent")):
        student = student_start(net(), folder).train()
        student(5 + torch.randn(2, 2, 8, 8))
        assert student[1].running_mean.tolist() == [0.0] * 3  # type: ignore[index]
    plain = nn.Conv2d(2, 2, 1)
    assert student_start(plain) is plain and not plain._forward_pre_hooks


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no adaptation can be read"):
        student_start(net(), str(tmp_path))


def test_a_student_is_exported_as_any_network() -> None:
    from builtup.training.export import export
    from builtup.training.students import network_of

    model = student_start(network_of("shipped")).eval()
    program = export(model).module()
    power = 0.05 + 0.1 * torch.rand(1, 2, 64, 64)
    expected = model(power).softmax(1)
    torch.testing.assert_close(program(power), expected, atol=1e-4, rtol=1e-3)
