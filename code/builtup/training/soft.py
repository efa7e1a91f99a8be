"""A lesson of soft labels: a teacher's probabilities, and what may be done to them on the way.

    stored map p ── ema: (1 − e)·p + e·average(x) ── debias: logit p − λ·logit p̂ ── keep ── mixup

Each is a number that is 0 where it is off, so that each can be left out and measured alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from torch import Tensor

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE, SCALE
from builtup.models.losses import SoftLabels
from builtup.training.lessons import Counted, Teaching

__all__ = ["SoftLesson"]

#: Probabilities this near to 0 and 1 have logits without meaning: half a step of 8 bits.
LEAST = 0.5 / SCALE


@dataclass
class SoftLesson:
    """KL(target ‖ student), averaged over the valid pixels of a batch of the layer `soft`.

    The target is the probability of the class `mapped` of two, or of each of more classes, and
    begins as what the layer holds.

    - `ema`: the share e of the moving average's probabilities for the same batch in the target (the
      config's `ema_decay`; Tarvainen & Valpola, Mean teachers, NeurIPS 2017). 1 leaves nothing of
      the layer but where it is known.
    - `debias`: λ. A teacher that mostly sees background says background where it is not sure. Its
      logits are shifted by those of its own mean, z̃ = z − λ · log(p̂ / (1 − p̂)), with the running
      mean p̂ ← m · p̂ + (1 − m) · mean(p) over the batches' valid pixels, m = `momentum`, which
      begins at `prior` (of the whole layer: `PseudoRecord.mean`) or, without, at the first batch's.
      The equation is that of Wang, Wu, Lian & Yu, Debiased Learning from Naturally Imbalanced
      Pseudo-Labels, CVPR 2022, for two classes; of more p̂ has one for each, and each class's
      logit is shifted by λ · log p̂. Huang et al., DBMatch, IEEE TGRS 63, 2025 use a global bias
      between building and background for footprints. Where p̂ is the same of all nothing moves.
    - `keep`: pixels whose most probable class is below it have no label; of two ½ keeps all.
    - `mixup`: α of Beta(α, α), of which a batch draws λ: image and target become λ times their own
      and 1 − λ times those of another sample of the batch (Zhang et al., ICLR 2018). What is not
      known in one of the two is not known.

    `temperature` is that of `SoftLabels`. The randomness of mixup is a function of `seed`, the
    batch and the step. Raises ConfigError for settings that make no sense, and for `ema` without a
    moving average.
    """

    temperature: float = 1.0
    ema: float = 0.0
    debias: float = 0.0
    prior: float | tuple[float, ...] | None = None
    momentum: float = 0.99
    keep: float = 0.0
    mixup: float = 0.0
    mapped: int = 1
    seed: int = 0
    mean: float | tuple[float, ...] | None = field(init=False)

    def __post_init__(self) -> None:
        shares = {"ema": self.ema, "debias": self.debias, "momentum": self.momentum}
        shares["keep"] = self.keep
        prior = self.prior if isinstance(self.prior, tuple) else (self.prior or 0.0,)
        named = [*shares.items(), *(("prior", share) for share in prior)]
        if wrong := [f"{name} = {v:g}" for name, v in named if not 0 <= v <= 1]:
            raise ConfigError(f"soft labels: {wrong[0]}: expected a share from 0 to 1")
        if not 0 <= self.mixup < float("inf"):
            raise ConfigError(f"soft labels: mixup = {self.mixup:g}: expected 0 (off) or more")
        self.loss = SoftLabels(self.temperature, mapped=self.mapped)
        self.mean = self.prior

    def __call__(self, teaching: Teaching, batch: Any) -> Counted:
        """The loss of the batch, and the pixels that it counts."""
        image, level = teaching.image_and_target(batch)
        known = level != IGNORE
        p = torch.where(known, level, 0).float() / SCALE
        valid = known.all(1) if p.ndim == image.ndim else known
        if self.ema:
            p = torch.lerp(p, self._average(teaching, image, p), self.ema)
        if self.debias:
            p = (self._debiased_of_all if p.ndim == image.ndim else self._debiased)(p, valid)
        if self.keep:
            surest = p.amax(1) if p.ndim == image.ndim else torch.maximum(p, 1 - p)
            valid = valid & (surest >= self.keep)
        if self.mixup:
            image, p, valid = self._mixed(teaching, batch, image, p, valid)
        learnt = valid[:, None] if p.ndim == image.ndim else valid
        target = torch.where(learnt, p * SCALE, float(IGNORE))
        return Counted(self.loss(teaching.student(image), target), int(valid.sum()))

    @property
    def needs_average(self) -> bool:
        """Whether it asks the moving average of the weights."""
        return self.ema > 0

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs: the running mean."""
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        mean = state["mean"]
        self.mean = tuple(mean) if isinstance(mean, list) else mean

    def _average(self, teaching: Teaching, image: Tensor, like: Tensor) -> Tensor:
        """The moving average's probabilities, of the mapped class or of all as `like` has them."""
        found = teaching.teacher(image)
        if found is None:
            raise ConfigError(
                f"soft labels: ema = {self.ema:g}: there is no moving average; set ema_decay"
            )
        return found if like.ndim == found.ndim else found[:, self.mapped]

    def _debiased(self, p: Tensor, valid: Tensor) -> Tensor:
        """Probabilities with their mean's logit taken off; the mean moves on first."""
        (mean,) = self._moved_mean(p[None], valid) or (None,)
        if mean is None:
            return p
        self.mean = mean
        middle = torch.tensor(mean, dtype=torch.float64).clamp(LEAST, 1 - LEAST).logit()
        shift = self.debias * float(middle)
        return (p.clamp(LEAST, 1 - LEAST).logit() - shift).sigmoid()

    def _debiased_of_all(self, p: Tensor, valid: Tensor) -> Tensor:
        """As `_debiased`, of each class (N, K, H, W); they sum to 1 again."""
        self.mean = self._moved_mean(p.transpose(0, 1), valid)
        if self.mean is None:
            return p
        middle = torch.tensor(self.mean, dtype=p.dtype, device=p.device).clamp(min=LEAST).log()
        return (p.clamp(min=LEAST).log() - self.debias * middle[:, None, None]).softmax(1)

    def _moved_mean(self, p: Tensor, valid: Tensor) -> tuple[float, ...] | None:
        """The running mean of each class (K, N, H, W) over the valid pixels, moved on."""
        count = idist.all_reduce(int(valid.sum()))
        mean = (self.mean,) if isinstance(self.mean, float) else self.mean
        if not count:
            return mean
        found = [float(idist.all_reduce(float(of[valid].sum()))) / count for of in p]
        before = found if mean is None else mean
        if len(before) != len(found):
            raise ConfigError(
                f"soft labels: prior = {self.prior}: expected {len(found)} shares, one for each "
                "band of the soft labels"
            )
        pairs = zip(before, found, strict=True)
        return tuple(self.momentum * b + (1 - self.momentum) * now for b, now in pairs)

    def _mixed(
        self, teaching: Teaching, batch: Any, image: Tensor, p: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each sample with another one of the batch."""
        where = [int(i) for i in batch["index"]] if "index" in batch else []
        generator = np.random.default_rng([self.seed, round(teaching.share * 1e9), *where])
        share = float(generator.beta(self.mixup, self.mixup))
        other = torch.from_numpy(generator.permutation(len(image))).to(image.device)
        return (
            torch.lerp(image[other], image, share),  # NaN in either is NaN
            torch.lerp(p[other], p, share),
            valid & valid[other],
        )
