"""Pictures of validation tiles: image, prediction and ground truth, alone and laid over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn

from builtup.geo.probability import IGNORE
from builtup.jobs.files import atomic_path
from builtup.runs.tracking import Recorder
from builtup.scoring.counts import BUILDING, tile_iou
from builtup.sensors.radar.sentinel1 import UNKNOWN, backscatter_picture
from builtup.training.build import Data
from builtup.training.evaluator import Places, probabilities
from builtup.training.learner import Learner

__all__ = ["PictureMaker", "tile_picture"]

Rgb = NDArray[np.uint8]

MARGIN = 16
LEAST_SIDE = 192
PREDICTED = (230, 60, 30)
TRUE = (40, 200, 90)


class PictureMaker:
    """Draws validation tiles into the run's artifacts (call on rank 0).

    Called with an iteration, whenever the weights got better, it draws the same few tiles as
    pictures/<tile id>_<iteration>.png; tiles with buildings come first, evenly spread over those
    that the loader offers. `extremes` draws the best, the median and the worst of each city.
    """

    def __init__(self, learner: Learner, data: Data, recorder: Recorder, count: int) -> None:
        self.learner = learner
        self.data = data
        self.recorder = recorder
        self.dataset = getattr(data.val, "dataset", None)
        self.places = Places.of(data.val)
        self.indices = [] if self.dataset is None else _spread(self.dataset, count)

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
        sample = self.dataset[index]  # type: ignore[index]
        batch = {
            "image": sample["image"][None],
            "mask": torch.as_tensor(sample["mask"])[None],
            "index": [index],
        }
        power, target = self.data.prepare(batch, self.learner.device, False)
        model.eval()
        with torch.inference_mode(), self.learner.autocast():
            logits = model(power)
        picture = tile_picture(
            sample["image"].numpy(),
            probabilities(logits)[0].cpu().numpy(),
            logits.argmax(1)[0].cpu().numpy(),
            target[0].cpu().numpy(),
            title=title,
        )
        with atomic_path(self.recorder.folder / "pictures" / file) as path:
            picture.save(path)


def tile_picture(
    power: NDArray[np.float32],
    probability: NDArray[np.float32],
    label: NDArray[Any],
    target: NDArray[Any],
    title: str = "",
) -> Image.Image:
    """Five panels side by side, with the tile's building IoU in the caption.

    Image, building probability, ground truth, prediction on the image, ground truth on the image.
    `power` (2 or 3, H, W) linear VH, VV; `probability` (H, W) 0 to 1; `label`, `target` (H, W).
    """
    image = backscatter_picture(power)
    grey = np.repeat(np.round(probability * 255).astype(np.uint8)[..., None], 3, axis=2)
    truth = np.zeros_like(image)
    truth[target == BUILDING] = 255
    truth[target == IGNORE] = UNKNOWN
    panels = [
        ("VV, VH, VV-VH", image),
        ("probability", grey),
        ("ground truth", truth),
        ("image + prediction", _overlay(image, label == BUILDING, PREDICTED)),
        ("image + truth", _overlay(image, target == BUILDING, TRUE)),
    ]
    iou = tile_iou(label, target)
    caption = f"{title}  IoU {'undefined' if math.isnan(iou) else f'{iou:.3f}'}"
    return _side_by_side(panels, caption.strip())


def _overlay(image: Rgb, where: NDArray[np.bool_], colour: tuple[int, int, int]) -> Rgb:
    over = image.copy()
    over[where] = (0.5 * image[where] + 0.5 * np.array(colour)).astype(np.uint8)
    return over


def _side_by_side(panels: list[tuple[str, Rgb]], caption: str) -> Image.Image:
    images = [(name, _enlarged(Image.fromarray(pixels))) for name, pixels in panels]
    width, height = images[0][1].size
    sheet = Image.new("RGB", (len(panels) * (width + 4) - 4, height + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((2, 2), caption, fill="black")
    for number, (name, image) in enumerate(images):
        left = number * (width + 4)
        sheet.paste(image, (left, MARGIN))
        draw.text((left + 2, height + MARGIN + 2), name, fill="black")
    return sheet


def _enlarged(image: Image.Image) -> Image.Image:
    """Whole multiples of small images, so that their captions fit."""
    factor = -(-LEAST_SIDE // min(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _spread(dataset: Any, count: int) -> list[int]:
    tiles = getattr(dataset, "tiles", None)
    known = list(range(len(dataset)))
    if tiles is not None:
        built = [i for i in known if getattr(tiles[i], "target_ratio", 1) > 0]
        known = built or known
    most = min(count, len(known))
    return [known[i * len(known) // most] for i in range(most)]
