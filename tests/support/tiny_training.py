"""A config small enough to train in a test: in-memory tiles, a network of one hidden layer."""

from __future__ import annotations

from pathlib import Path

TINY = '''
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy
from builtup.models.segmenter import Segmenter
from builtup.training.schedules import poly

seed, num_classes, num_epochs = 3, 2, 3
batch_size, samples, lr, dropout, size = 2, 6, 0.05, 0.1, 32
class_weights, norm, ordered = (0.75, 1.5), True, False
log_model = False  # takes seconds
nan_at, stop_after = -1, 0  # a tile that gives NaN; training samples until an interrupt


class Net(nn.Sequential):
    stride = 4


class Tile:
    target_ratio = 0.5

    def __init__(self, number):
        self.tile_id, self.city = f"tile_{number}", f"City{number % 2}"


class Towns(Dataset):
    """Bright squares on a dark ground."""

    def __init__(self, count, first):
        self.tiles = [Tile(i + first) for i in range(count)]
        self.first, self.read = first, 0

    def __len__(self):
        return len(self.tiles)

    def __getitem__(self, index):
        self.read += 1
        if 0 < stop_after < self.read and self.first == 0:
            raise KeyboardInterrupt
        g = torch.Generator().manual_seed(index + self.first)
        mask = torch.zeros((size, size), dtype=torch.int64)
        top, left = torch.randint(0, size // 2, (2,), generator=g).tolist()
        mask[top : top + size // 3, left : left + size // 3] = 1
        power = 0.02 * torch.empty(3, size, size).exponential_(generator=g)
        power = power + 0.1 * mask
        power[:, :2] = float("nan")
        mask[:2] = 255
        if index == nan_at:
            power = power * 0 + 1e38
        return {"image": power, "mask": mask, "index": index}


def model():
    between = nn.BatchNorm2d(8) if norm else nn.Identity()
    hidden = [nn.Conv2d(3, 8, 3, padding=1), between, nn.ReLU(), nn.Dropout(dropout)]
    return Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), Net(*hidden, nn.Conv2d(8, 2, 1)))


def train_loader():
    import ignite.distributed as idist
    from torch.utils.data.distributed import DistributedSampler

    data = Towns(samples, 0)
    if idist.get_world_size() > 1:
        sampler = DistributedSampler(data, seed=seed, shuffle=not ordered)
        return DataLoader(data, batch_size // idist.get_world_size(), sampler=sampler)
    return DataLoader(data, batch_size, shuffle=not ordered)


def val_loader():
    return DataLoader(Towns(5, 100), 2)


def criterion():
    return CrossEntropy(*class_weights)


def optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def lr_scheduler(optimizer, total_steps):
    return poly(optimizer, total_steps)
'''


def write_tiny(folder: Path, extra: str = "") -> Path:
    """Write the config into a folder."""
    path = folder / "tiny.py"
    path.write_text(TINY + extra)
    return path
