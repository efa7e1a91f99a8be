"""A lesson of images that nobody labelled: strong views must say what the weak one is sure of.

FixMatch for pixels as Yang et al. have it (UniMatch, CVPR 2023; UniMatch V2, IEEE TPAMI 2025), with
tags of crops, which tell the teacher what cannot be there:

    weak view ── teacher ── masked by tags ── class where sure ──┐
        ├── colours, blur, CutMix ── student (one view, two) ────┼── cross-entropy
        └── features hidden ── student ──────────────────────────┘
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.data.mixing import cutmix, cutmix_boxes, seeded
from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.models.channels import required_of
from builtup.models.feature_dropout import Masks, complementary, dropped, single
from builtup.models.heads import tagged_cells
from builtup.training.lessons import Counted, Teaching

__all__ = ["SINGLE", "WeakToStrong", "masked_by_tags"]

#: How features are hidden: of a view of its own (UniMatch), or of the strong two, each of what the
#: other one sees (V2).
SINGLE, COMPLEMENTARY = "single", "complementary"
#: What each view counts.
OF_VIEW = 0.5

Strong = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class WeakToStrong:
    """Cross-entropy of strong views with what the teacher is sure of in the weak one.

    The batch as it is loaded is the weak view. The teacher is the moving average where the config
    has an `ema_decay`, else the network itself, as it predicts. A pixel counts where the teacher's
    greatest probability is `keep` or more (one number, or one a class); the sum is divided by all
    valid pixels, so that a teacher that is sure of little teaches little.

    - `strong`: what is done to each image for a strong view, `Optical(…)` or `Radar(…)`; there are
      `views` of it, each with a loss of weight ½.
    - `cutmix`: in that share of the samples of a strong view, a rectangle is of another sample.
    - `feature_dropout`: "single", a further view whose image is the weak one, half of its features
      hidden; "complementary", half of the pairs of strong views, each with the features that the
      other one lacks (`builtup.models.feature_dropout`); "" none.
    - `tags`: classes that a cell's tags say are absent have no probability within it.

    Randomness is a function of `seed`, the batch and the step. Raises ConfigError for settings that
    make no sense, and where batches have no tags.
    """

    strong: Strong
    keep: float | tuple[float, ...] = 0.95
    views: int = 2
    cutmix: float = 0.5
    feature_dropout: str = SINGLE
    tags: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        kept = self.keep if isinstance(self.keep, tuple) else (self.keep,)
        if not kept or any(not 0 <= k <= 1 for k in kept) or not 0 <= self.cutmix <= 1:
            raise ConfigError(
                f"consistency: keep = {self.keep}, cutmix = {self.cutmix}: expected shares from 0 "
                "to 1"
            )
        if self.feature_dropout not in ("", SINGLE, COMPLEMENTARY):
            raise ConfigError(
                f"consistency: feature_dropout = {self.feature_dropout!r}: expected {SINGLE}, "
                f"{COMPLEMENTARY} or nothing"
            )
        pairs = self.feature_dropout == COMPLEMENTARY
        if self.views != 2 if pairs else self.views < (0 if self.feature_dropout else 1):
            raise ConfigError(
                f"consistency: views = {self.views} with feature_dropout = "
                f"{self.feature_dropout!r}: expected 2 of complementary features, else 1 or more"
            )

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The loss of the batch, and the valid pixels of its weak view."""
        image, targets = teaching.image_and_targets(batch)
        valid = _valid(teaching.network, image)
        label = self._label(teaching, image, targets, valid)
        generator = self._generator(teaching, batch)
        views, labels, known = [], [], []
        if self.feature_dropout == SINGLE:
            views, labels, known = [image], [label], [valid]
        bands = required_of(teaching.network) or image.shape[1]
        for _ in range(self.views):
            changed = self._changed(image, bands, generator)
            view, truth, seen = self._cut(changed, label, valid, generator)
            views.append(view)
            labels.append(truth)
            known.append(seen)
        loss = torch.zeros((), device=image.device)
        with self._hidden(teaching.network, len(image), len(views), generator):
            # one pass for all: batch normalisation sees them together, processes exchange once
            logits = teaching.student(torch.cat(views)).chunk(len(views))
        for one, truth, seen in zip(logits, labels, known, strict=True):
            total = F.cross_entropy(one, truth, ignore_index=IGNORE, reduction="sum")
            loss = loss + OF_VIEW * total / seen.sum().clamp(min=1)
        return Counted(loss, int(valid.sum()))

    def _label(self, teaching: Teaching, image: Tensor, targets: Any, valid: Tensor) -> Tensor:
        """What the teacher is sure of (N, H, W) int64, 255 elsewhere."""
        found = teaching.teacher(image)
        p = teaching.itself(image) if found is None else found
        if self.tags:
            p = masked_by_tags(p, *tagged_cells(targets))
        confidence, label = p.max(1)
        return torch.where(valid & (confidence >= self._least(p)[label]), label, IGNORE)

    def _least(self, p: Tensor) -> Tensor:
        """The probability from which each class is believed."""
        classes = p.shape[1]
        kept = self.keep if isinstance(self.keep, tuple) else (self.keep,) * classes
        if len(kept) != classes:
            raise ConfigError(
                f"consistency: keep = {self.keep}: {len(kept)} numbers for {classes} classes; give "
                "one, or one each"
            )
        return torch.tensor(kept, device=p.device)

    def _changed(self, image: Tensor, bands: int, generator: torch.Generator) -> Tensor:
        """Each image changed, but for the layers behind its bands."""
        seeds = torch.randint(2**62, (len(image),), generator=generator).tolist()
        changed = image.cpu().clone()  # augmentation draws on the CPU
        for one, seed in zip(changed, seeds, strict=True):
            with seeded(seed):
                one[:bands] = self.strong(one[:bands].clone())
        return changed.to(image.device)

    def _cut(
        self, view: Tensor, label: Tensor, valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A view with rectangles of other samples, its labels, and which pixels are valid."""
        count, height, width = label.shape
        boxes = cutmix_boxes(count, height, width, self.cutmix, generator)
        shift = 1 + int(torch.randint(max(1, count - 1), (), generator=generator))
        other = (torch.arange(count, device=view.device) + shift) % count
        return cutmix(view, other, boxes), cutmix(label, other, boxes), cutmix(valid, other, boxes)

    def _hidden(
        self, network: nn.Module, samples: int, views: int, generator: torch.Generator
    ) -> contextlib.AbstractContextManager[None]:
        masks: Masks
        if self.feature_dropout == SINGLE:
            masks = single(samples * views, range(samples), generator)
        elif self.feature_dropout == COMPLEMENTARY:
            first, second = range(samples), range(samples, 2 * samples)
            masks = complementary(samples * views, first, second, generator)
        else:
            return contextlib.nullcontext()
        return dropped(network, masks)

    def _generator(self, teaching: Teaching, batch: Any) -> torch.Generator:
        """All that is drawn for a batch at a step."""
        where: Sequence[int] = [int(i) for i in batch["index"]] if "index" in batch else []
        entropy = np.random.SeedSequence([self.seed, round(teaching.share * 1e9), *where])
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)


def masked_by_tags(probabilities: Tensor, tags: Tensor, cells: Tensor) -> Tensor:
    """Probabilities (N, K, H, W) without the classes that tags (N, n, K) of their cells exclude.

    A tag of 0 does; NaN says nothing. Of a pixel in one of the `cells` (N, n, H, W) absent classes
    are exactly 0 and the others sum to 1; 0 all where tags leave no class. Pixels outside stay as
    they are.
    """
    inside = cells.any(1)
    absent = ((tags == 0)[..., None, None] & cells[:, :, None]).any(1)
    left = torch.where(absent, 0.0, probabilities)
    total = left.sum(1, keepdim=True)
    masked = left / total.clamp(min=torch.finfo(total.dtype).tiny)
    return torch.where(inside[:, None], masked, probabilities)


def _valid(network: nn.Module, image: Tensor) -> Tensor:
    """Pixels (N, H, W) of which the network knows all bands that it needs."""
    return ~image[:, : required_of(network)].isnan().any(1)
