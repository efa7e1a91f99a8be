"""Students: the network of a teacher, found again without the teacher's run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from builtup.errors import BuiltupError
from builtup.runs.model_file import SHIPPED_FILE
from builtup.training.checkpoints import load_trained, save_state
from builtup.training.students import keep_teacher, network_of

CONFIG = """
from torch import nn

pretrained = True


def model():
    return nn.Conv2d(3, 2, 1)
"""
#: Of a student, as it is logged.
STUDENT = """
from builtup.training.students import network_of

teacher, pretrained = "", True


def model():
    return network_of(teacher, weights=pretrained)
"""


def logged(folder: Path, text: str, model: nn.Module, **settings: object) -> Path:
    """A run's artifacts as they are after a training."""
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "own.py").write_text(text)
    told = {
        "files": ["own.py"],
        "settings": {"pretrained": True, "channels_last": False, **settings},
    }
    (folder / "config" / "settings.json").write_text(json.dumps(told))
    save_state(model.state_dict(), folder / "weights" / "best.pt")
    return folder


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_student_of_a_student_is_found_without_either_of_their_teachers(tmp_path: Path) -> None:
    first = logged(tmp_path / "first", CONFIG, nn.Conv2d(3, 2, 1))
    second = tmp_path / "second"
    third = tmp_path / "third"
    for folder, teacher in ((second, first), (third, second)):
        begun = network_of(str(teacher))
        assert begun.training and same(begun, load_trained(teacher).model)
        logged(folder, STUDENT, nn.Conv2d(3, 2, 1), teacher=str(teacher))
        keep_teacher(str(teacher), folder / "config")
    for gone in (first, second):
        shutil.rmtree(gone)
    found = load_trained(third).model
    assert same(found, load_trained(third).model) and isinstance(found, nn.Conv2d)


def test_the_model_that_comes_along_can_be_a_teacher(tmp_path: Path) -> None:
    begun = network_of("shipped")
    assert same(begun, load_trained(SHIPPED_FILE).model)
    student = logged(tmp_path / "run", STUDENT, begun, teacher="shipped")
    keep_teacher("shipped", student / "config")
    kept = str(student / "config" / "teacher")
    bare = network_of(kept, weights=False)
    assert not same(bare, begun)
    assert same(load_trained(student).model, begun)


def test_without_a_teacher_nothing_is_kept_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    keep_teacher("", tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BuiltupError, match=r"absent/run\.pt: does not exist"):
        network_of(str(tmp_path / "absent" / "run.pt"))
