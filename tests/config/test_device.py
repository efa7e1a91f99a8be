"""A device by name; one that is not there is one line."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
import pytest
import torch

from builtup.config.device import pick_device
from builtup.errors import ConfigError


@pytest.mark.parametrize(("cuda", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert pick_device() == torch.device(device)


def test_each_of_several_processes_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(idist, "get_world_size", lambda: 4)
    monkeypatch.setattr(idist, "get_local_rank", lambda: 3)
    assert pick_device("cuda") == torch.device("cuda", 3)
    assert pick_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"^x\.py: device = 'cuda': this machine has no CUDA"):
        pick_device("cuda", Path("x.py"))
    with pytest.raises(
        ConfigError, match=r"^device='quantum': no such device; use auto, cpu or cu"
    ):
        pick_device("quantum")
