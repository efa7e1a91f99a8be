"""Lessons of tags alone: scores of whole cells, and masks that a network makes for itself.

Araslanov & Roth, Single-Stage Semantic Segmentation from Image Labels, CVPR 2020, whose network is
`builtup.models.single_stage`. Tags are of cells, as in `builtup.training.tagged`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.models.channels import channels_of
from builtup.models.heads import tagged_cells
from builtup.models.pamr import pamr
from builtup.models.single_stage import mask_penalty, normalised_score
from builtup.training.lessons import Counted, Teaching

__all__ = ["ActivationMaps", "MaskScores", "SelfMasks", "pixel_weights", "pseudo_masks"]


@dataclass(frozen=True)
class MaskScores:
    """Multi-label soft margin of scores weighted by the masks, with a penalty of small ones.

    `background` is the number of the class whose channel is constant; it is not learnt from tags.
    """

    background: int | None = None

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The mean over the known tags, and their number."""
        image, tags, inside = _tagged(teaching, batch)
        score, mean = normalised_score(teaching.student(image), inside, self.background)
        return _soft_margin(score + mask_penalty(mean), tags, inside, self.background)


@dataclass(frozen=True)
class ActivationMaps:
    """The same of plain means of the logits: a classifier whose maps are class activation maps.

    Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016; the baseline.
    `background` as of `MaskScores`.
    """

    background: int | None = None

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The mean over the known tags, and their number."""
        image, tags, inside = _tagged(teaching, batch)
        logits = torch.where(inside[:, None], teaching.student(image), 0.0)
        mean = logits.sum((2, 3)) / inside.sum((1, 2)).clamp(min=1)[:, None]
        return _soft_margin(mean, tags, inside, self.background)


@dataclass(frozen=True)
class SelfMasks:
    """Cross-entropy with the network's own masks, refined along edges and kept where they are sure.

    The masks are the student's probabilities as it predicts, refined by PAMR on the normalised
    channels, times the tags (`pseudo_masks`). Samples count whose masks have just the classes that
    their tags say, each pixel by the weight of its class (`pixel_weights`). A lesson of it begins
    `since` a few epochs of tags alone.
    """

    background: int | None = None
    iterations: int = 10
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The weighted mean over the pixels that have a class, and their number."""
        image, tags, inside = _tagged(teaching, batch)
        refined = pamr(
            _seen(teaching, image), teaching.itself(image), self.iterations, self.dilations
        )
        label = pseudo_masks(refined, tags, inside, self.background)
        weight = pixel_weights(label, tags.shape[1])
        cost = F.cross_entropy(
            teaching.student(image), label, ignore_index=IGNORE, reduction="none"
        )
        number = int((label != IGNORE).sum())
        return Counted((weight * cost).sum() / max(number, 1), number)


def pseudo_masks(
    refined: Tensor,
    tags: Tensor,
    inside: Tensor,
    background: int | None = None,
    *,
    least: float = 0.2,
    of_greatest: float = 0.6,
    of_background: float = 0.7,
) -> Tensor:
    """Masks (N, K, H, W) as one label a pixel (N, H, W) int64, 255 where none or several are sure.

    A class that is tagged absent, or not known, has no mask; of the others a pixel is sure where
    its mask is above max(`least`, `of_greatest` times the greatest of the sample's cell); of the
    background `of_background` times. Samples whose classes are not those of their tags have no
    label at all.
    """
    present = torch.where(tags.isnan(), 0.0, tags) > 0
    if background is not None:
        present[:, background] = True
    kept = torch.where(present[:, :, None, None] & inside[:, None], refined, 0.0)
    share = torch.full((refined.shape[1],), of_greatest, device=refined.device)
    if background is not None:
        share[background] = of_background
    bound = (share[:, None, None] * kept.amax((2, 3), keepdim=True)).clamp(min=least)
    sure = kept > bound
    label = torch.where(sure.sum(1) == 1, sure.int().argmax(1), IGNORE)
    found = torch.stack([(label == c).any(2).any(1) for c in range(refined.shape[1])], 1)
    wanted = present.clone()
    if background is not None:  # it need not be seen
        found[:, background] = wanted[:, background] = False
    return torch.where((found == wanted).all(1)[:, None, None], label, IGNORE)


def pixel_weights(label: Tensor, classes: int) -> Tensor:
    """(N − N_c) / (1 + N) of each pixel (B, H, W), N its sample's labelled ones, N_c of its class.

    0 of what has no label. Small objects count as much as the ground about them; a class that is
    alone counts next to nothing.
    """
    valid = label != IGNORE
    counts = torch.stack([(label == c).sum((1, 2)) for c in range(classes)], 1)  # (B, K)
    total = counts.sum(1, keepdim=True)
    of_class = (total - counts).float() / (1 + total)
    place = torch.where(valid, label, 0).flatten(1)
    return torch.where(valid, of_class.gather(1, place).reshape(label.shape), 0.0)


def _tagged(teaching: Teaching, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Image, tags (N, K), and the pixels (N, H, W) of their cells."""
    image, targets = teaching.image_and_targets(batch)
    tags, cells = tagged_cells(targets)
    if tags.shape[1] > 1:
        raise ConfigError(
            f"tags: samples of {tags.shape[1]} cells, and a classifier says one thing of each; "
            "weaken with block=1"
        )
    return image, tags[:, 0], cells[:, 0]


def _seen(teaching: Teaching, image: Tensor) -> Tensor:
    """The channels that the network is fed, where edges are looked for; no-data is their mean."""
    channels = channels_of(teaching.network)
    if channels is None:
        return image.nan_to_num(0.0)
    with torch.no_grad():
        fed: Tensor = channels(image)
    return fed


def _soft_margin(score: Tensor, tags: Tensor, inside: Tensor, background: int | None) -> Counted:
    """torch's multilabel soft margin loss, a tag at a time, of those that are known."""
    known = ~tags.isnan() & inside.any(2).any(1)[:, None]
    if background is not None:
        known[:, background] = False
    wanted = torch.where(known, (tags > 0).float(), 0.0)
    cost = F.binary_cross_entropy_with_logits(score, wanted, reduction="none")
    number = int(known.sum())
    return Counted(torch.where(known, cost, 0.0).sum() / max(number, 1), number)
