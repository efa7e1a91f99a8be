"""Pictures of validation tiles, drawn while a network learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from builtup.data.contract import Places
from builtup.jobs.files import atomic_path
from builtup.models.channels import sensor_of_model
from builtup.models.heads import class_logits, mask_of
from builtup.runs.recorder import Recorder
from builtup.scoring.tile_picture import tile_picture
from builtup.training.build import Data
from builtup.training.learner import Learner

__all__ = ["PictureMaker"]


class PictureMaker:
    """Draws validation tiles into the run's artifacts (call on rank 0).

    Called with an iteration, whenever the weights got better, it draws the same few tiles as
    pictures/<tile id>_<iteration>.png; tiles with the mapped class come first, evenly spread over
    those that the loader offers. `extremes` draws the best, median and worst tile of each city.
    """

    def __init__(self, learner: Learner, data: Data, recorder: Recorder, count: int) -> None:
        self.learner = learner
        self.data = data
        self.recorder = recorder
        self.dataset: Any = None
        self.places, self.indices = Places(), list[int]()
        if data.val is not None and data.val.dataset is not None:
            self.dataset, self.places = data.val.dataset, data.val.places
            self.indices = _spread(len(self.dataset), data.val.sample_tiles, count)

    def __call__(self, iteration: int) -> None:
        """Predict and draw the tiles with the weights as they are now."""
        for index in self.indices:
            name = self._name(index)
            title = f"{name}  iteration {iteration}"
            file = f"{name.replace(' ', '_')}_{iteration:06d}.png"
            self._draw(self.learner.weights, index, title, file)

    def extremes(self, model: nn.Module, chosen: Mapping[str, Mapping[str, int]]) -> None:
        """Draw pictures/<city>/<best, median or worst>_<tile id>.png with a model's weights.

        `chosen` holds tile numbers as `builtup.scoring.counts.rank_tiles` gives them.
        """
        if self.dataset is None:
            return
        for city, numbers in chosen.items():
            for kind, index in numbers.items():
                name = self._name(index)
                file = f"{city}/{kind}_{name.replace(' ', '_')}.png"
                self._draw(model, index, f"{kind} of {city}: {name}", file)

    def _name(self, index: int) -> str:
        return self.places.names({"index": [index]})[0]

    def _draw(self, model: nn.Module, index: int, title: str, file: str) -> None:
        sample = self.dataset[index]
        batch = {
            "image": sample["image"][None],
            "mask": torch.as_tensor(sample["mask"])[None],
            "index": [index],
        }
        image, target = self.data.prepare(batch, self.learner.device, False)
        model.eval()
        with torch.inference_mode(), self.learner.autocast():
            logits = class_logits(model(image))
        classes = self.data.classes
        picture = tile_picture(
            sample["image"].numpy(),
            logits.float().softmax(1)[0, classes.mapped_index].cpu().numpy(),
            logits[0].argmax(0).cpu().numpy(),
            mask_of(target)[0].cpu().numpy(),
            classes,
            sensor_of_model(model),
            title,
        )
        with atomic_path(self.recorder.folder / "pictures" / file) as path:
            picture.save(path)


def _spread(samples: int, tiles: Sequence[Any] | None, count: int) -> list[int]:
    known = list(range(samples))
    if tiles is not None:
        built = [i for i in known if getattr(tiles[i], "target_ratio", 1) > 0]
        known = built or known
    most = min(count, len(known))
    return [known[i * len(known) // most] for i in range(most)]
