"""Pictures that a training draws of its validation tiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from builtup.data.contract import as_tile_loader
from builtup.runs.recorder import Recorder
from builtup.sensors.classes import BUILT_UP
from builtup.training.build import Data
from builtup.training.evaluator import prepare_batch
from builtup.training.learner import Learner
from builtup.training.tile_pictures import PictureMaker


@dataclass(frozen=True)
class Tile:
    tile_id: str
    city: str
    target_ratio: float


class Towns(Dataset[Any]):
    """Four tiles, of which the second and the last have buildings."""

    def __init__(self) -> None:
        self.tiles = [Tile(f"t{i}", "City", i % 2) for i in range(4)]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> dict[str, Any]:
        mask = torch.zeros(8, 8, dtype=torch.uint8)
        mask[:4] = index % 2
        return {"image": torch.full((2, 8, 8), 0.1), "mask": mask, "index": index}


def maker(folder: Path, count: int, *, validated: bool = True) -> PictureMaker:
    model = nn.Conv2d(2, 2, 1)
    learner = Learner(model, nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.1))
    loader = as_tile_loader(DataLoader(Towns(), 2))
    data = Data(loader, loader if validated else None, None, prepare_batch, 2, BUILT_UP)
    recorder = Recorder()
    recorder.folder = folder
    return PictureMaker(learner, data, recorder, count)


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))


def test_tiles_with_the_mapped_class_are_drawn_after_each_better_validation(tmp_path: Path) -> None:
    pictures = maker(tmp_path, 2)
    pictures(3)
    assert names(tmp_path / "pictures") == ["t1_000003.png", "t3_000003.png"]
    with Image.open(tmp_path / "pictures" / "t1_000003.png") as image:
        assert image.width > image.height > 192


def test_the_extremes_of_each_city_are_drawn_with_their_names(tmp_path: Path) -> None:
    pictures = maker(tmp_path, 0)
    pictures.extremes(pictures.learner.model, {"City": {"best": 1, "worst": 2}})
    assert names(tmp_path / "pictures") == ["City/best_t1.png", "City/worst_t2.png"]


def test_without_validation_nothing_is_drawn(tmp_path: Path) -> None:
    pictures = maker(tmp_path, 2, validated=False)
    pictures(1)
    pictures.extremes(pictures.learner.model, {"City": {"best": 1}})
    assert names(tmp_path) == []
