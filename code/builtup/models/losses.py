"""Losses of a segmentation with ignored pixels (255), and weighted sums of them.

A config writes them as the tables of experiments do: `CrossEntropy(0.75, 1.5) + 2 * Jaccard()`.
Each is 0, with a gradient of 0, where every pixel is ignored. Those of areas (Jaccard, Dice,
F1, Tversky, Lovasz) are computed class by class over the valid pixels of the batch and only then
averaged: an all-background answer costs as much as it misses. A class without a pixel in the batch
has no part in them. FocalTversky counts all classes at once.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE, SCALE

__all__ = [
    "F1",
    "CrossEntropy",
    "Dice",
    "Focal",
    "FocalTversky",
    "Jaccard",
    "Loss",
    "Lovasz",
    "NoLabels",
    "SoftLabels",
    "SymmetricCrossEntropy",
    "Tversky",
    "WeightedSum",
]


class Loss(nn.Module):
    """A loss of logits (B, C, H, W) and targets (B, H, W) int64, 255 ignored; adds and scales."""

    def __add__(self, other: Loss) -> WeightedSum:
        """The sum of two losses."""
        if not isinstance(other, Loss):  # of a head: it knows how to add this one
            return NotImplemented
        return WeightedSum(*_terms(self), *_terms(other))

    def __rmul__(self, factor: float) -> WeightedSum:
        """`factor` times this loss."""
        return WeightedSum(*((factor * weight, loss) for weight, loss in _terms(self)))

    def count(self, target: Tensor) -> int:
        """The pixels that it is a mean of, by which batches of a step count."""
        return int((target != IGNORE).sum())


class _PerPixel(Loss):
    """A loss of each pixel, weighted by its class and divided by the weight of those that count.

    One weight per class; none means 1 for all. One logit, (B, 1, H, W) or of a whole sample (B,)
    with targets (B,), is that of the second of two classes. Raises ConfigError for weights that do
    not fit.
    """

    #: Whether the sum is divided by the weights of the valid pixels, or by their number.
    by_weight: ClassVar[bool] = True
    weight: Tensor | None

    def __init__(self, *weights: float) -> None:
        super().__init__()
        if any(not 0 <= w < float("inf") for w in weights):
            raise ConfigError(f"class weights {weights}: must be finite and at least 0")
        self.register_buffer(
            "weight", torch.tensor(weights, dtype=torch.float32) if weights else None
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the logits."""
        logits = _of_classes(logits)
        classes = logits.shape[1]
        if self.weight is not None and len(self.weight) != classes:
            raise ConfigError(
                f"{self}: {len(self.weight)} class weights for {classes} classes; give one each"
            )
        logits = _exact(logits)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        # counts of integers: exact, and the same on every device
        counts = torch.stack([(target == c).sum() for c in range(classes)])
        of_each = None if not self.by_weight else weight
        pixels = counts.sum() if of_each is None else (counts * of_each).sum()
        total = self.total(logits, target, weight)
        return total / torch.where(pixels > 0, pixels, 1)

    def total(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The weighted sum over the valid pixels."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The weights, for print(criterion)."""
        return "" if self.weight is None else ", ".join(f"{w:g}" for w in self.weight.tolist())

    def _named(self, name: str, *options: str) -> str:
        return f"{name}({', '.join(part for part in (self.extra_repr(), *options) if part)})"


class CrossEntropy(_PerPixel):
    """Cross-entropy, weighted per class.

    That is torch's weighted mean, but 0 where every pixel is ignored, which torch answers with
    NaN. `label_smoothing` is torch's: that share of the truth is spread over all classes
    (Szegedy et al., CVPR 2016).
    """

    def __init__(self, *weights: float, label_smoothing: float = 0.0) -> None:
        super().__init__(*weights)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing = {label_smoothing}: expected 0 or more, below 1")
        self.label_smoothing = label_smoothing

    def total(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The weighted sum over the valid pixels."""
        return F.cross_entropy(
            logits,
            target,
            weight,
            ignore_index=IGNORE,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )

    def __str__(self) -> str:
        smoothing = f"smoothing {self.label_smoothing:g}" if self.label_smoothing else ""
        return self._named("CE", smoothing)


class Focal(_PerPixel):
    """Cross-entropy times (1 − p)^gamma, p the probability of the true class.

    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, over a softmax (the library's
    focal loss is one of sigmoids, a detector per class). The weights are its alpha: they scale, and
    the mean is one of pixels. Without weights and with gamma = 0 it is CrossEntropy.
    """

    by_weight = False

    def __init__(self, *weights: float, gamma: float = 2.0) -> None:
        super().__init__(*weights)
        if gamma < 0:
            raise ConfigError(f"focal loss: gamma = {gamma}: expected 0 or more")
        self.gamma = gamma

    def total(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The weighted sum over the valid pixels."""
        log_p, of_pixel = _true_class(logits, target, weight)
        # away from 0, where the power has no gradient for a gamma below 1
        missed = (-torch.expm1(log_p)).clamp(min=1e-6)
        return -(of_pixel * missed**self.gamma * log_p).sum()

    def __str__(self) -> str:
        return self._named("focal", f"gamma {self.gamma:g}")


class SymmetricCrossEntropy(_PerPixel):
    """alpha · CE + beta · reverse CE, which forgives some wrong labels.

    Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, ICCV 2019: the
    reverse term −Σ p log q takes the logarithm of the labels, that of 0 being `log_zero`; for a
    known class it is −log_zero · (1 − p), which is bounded. Defaults are the paper's for CIFAR-10.
    """

    def __init__(
        self, *weights: float, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0
    ) -> None:
        super().__init__(*weights)
        if alpha < 0 or beta < 0 or log_zero >= 0:
            raise ConfigError(
                f"symmetric CE: alpha = {alpha}, beta = {beta}, log_zero = {log_zero}: expected "
                "alpha and beta of 0 or more, log_zero below 0"
            )
        self.alpha, self.beta, self.log_zero = alpha, beta, log_zero

    def total(self, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """The weighted sum over the valid pixels."""
        log_p, of_pixel = _true_class(logits, target, weight)
        forward, reverse = -log_p, self.log_zero * torch.expm1(log_p)
        return (of_pixel * (self.alpha * forward + self.beta * reverse)).sum()

    def __str__(self) -> str:
        return self._named("symmetric CE", f"alpha {self.alpha:g}", f"beta {self.beta:g}")


class SoftLabels(Loss):
    """KL(target ‖ network), averaged over the valid pixels.

    The target is the probability of class `mapped` of two (N, H, W), or of each class (N, K, H, W),
    as 8-bit rasters have it: level v means v/254, 255 is ignored. With a `temperature` T logits of
    both sides are divided by T and the loss is times T², as in Hinton et al., Distilling the
    Knowledge in a Neural Network, 2015. Raises ConfigError for another number of classes.
    """

    def __init__(self, temperature: float = 1.0, *, mapped: int = 1) -> None:
        super().__init__()
        if not 0 < temperature < float("inf") or mapped not in (0, 1):
            raise ConfigError(
                f"soft labels: temperature = {temperature}, mapped = {mapped}: expected a "
                "temperature above 0, and class 0 or 1"
            )
        self.temperature, self.mapped = temperature, mapped

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the logits."""
        of_all = target.ndim == logits.ndim
        if logits.shape[1] != (bands := target.shape[1] if of_all else 2):
            raise ConfigError(f"{self}: labels of {bands} classes, a network of {logits.shape[1]}")
        log_q = (_exact(logits) / self.temperature).log_softmax(1)
        known = target != IGNORE
        valid = known.all(1) if of_all else known
        level = torch.where(known, target, 0).to(log_q.dtype) / SCALE
        p = (level if of_all else torch.stack([1 - level, level], 1)).pow(1 / self.temperature)
        p = p / p.sum(1, keepdim=True).clamp(min=1e-9)
        if self.mapped == 0 and not of_all:
            log_q = log_q.flip(1)
        divergence = (torch.xlogy(p, p) - p * log_q).sum(1)
        total = torch.where(valid, divergence, 0.0).sum()
        return total * self.temperature**2 / valid.sum().clamp(min=1)

    def __str__(self) -> str:
        softer = f"temperature {self.temperature:g}" if self.temperature != 1 else ""
        return f"KL({softer})"


class _OfAreas(Loss):
    """A loss of segmentation_models_pytorch, which is right about classes and ignored pixels."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        # imported here: the library takes seconds, and cross-entropy alone does not need it
        from segmentation_models_pytorch import losses

        self.loss = getattr(losses, name)("multiclass", ignore_index=IGNORE, **options)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the logits."""
        value: Tensor = self.loss(_exact(logits), target)
        return value

    def __str__(self) -> str:
        return type(self).__name__


class Jaccard(_OfAreas):
    """1 − soft Jaccard index (intersection over union) of each class, mean of the classes."""

    def __init__(self) -> None:
        super().__init__("JaccardLoss")


class Dice(_OfAreas):
    """1 − soft Dice index (F1) of each class, mean of the classes."""

    def __init__(self) -> None:
        super().__init__("DiceLoss")


class F1(Dice):
    """1 − soft F1 of each class, mean of the classes: the Dice index by its other name."""


class Tversky(_OfAreas):
    """1 − TP / (TP + alpha · FP + beta · FN) of each class, mean of the classes.

    Salehi et al., MLMI 2017: beta above alpha costs missed buildings more than false ones (of the
    building class; of the background it is the other way round). Both .5 give Dice, both 1 Jaccard.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7) -> None:
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0):
            raise ConfigError(f"Tversky: alpha = {alpha}, beta = {beta}: expected 0 or more, not 0")
        super().__init__("TverskyLoss", alpha=alpha, beta=beta)
        self.alpha, self.beta = alpha, beta

    def __str__(self) -> str:
        return f"Tversky({self.alpha:g}, {self.beta:g})"


class FocalTversky(Loss):
    """(1 − T)^gamma, T = TP / (TP + alpha · FP + beta · FN) over all classes at once.

    Abraham & Khan, A Novel Focal Tversky Loss Function, ISBI 2019, whose loss is one of each class;
    here true and false positives are summed over the classes first, so that each pixel counts the
    same. With gamma below 1 what is nearly right still has a gradient.
    """

    def __init__(self, alpha: float = 0.7, beta: float = 0.3, gamma: float = 0.75) -> None:
        super().__init__()
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0 and 0 < gamma < float("inf")):
            raise ConfigError(
                f"focal Tversky: alpha = {alpha}, beta = {beta}, gamma = {gamma}: expected alpha "
                "and beta of 0 or more, not both 0, gamma above 0"
            )
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the logits."""
        log_p, valid = _true_class(_exact(logits), target, None)
        right = (log_p.exp() * valid).sum()
        # what a pixel gives to wrong classes is its false positives, and its own class misses it
        wrong = valid.sum() - right
        costly = (self.alpha + self.beta) * wrong
        # away from 0, where the power has no gradient for a gamma below 1
        missed = (costly / (right + costly).clamp(min=1e-7)).clamp(min=1e-7)
        return missed**self.gamma * (valid.sum() > 0)

    def __str__(self) -> str:
        return f"focal Tversky({self.alpha:g}, {self.beta:g}, gamma {self.gamma:g})"


class Lovasz(_OfAreas):
    """The Lovász extension of 1 − Jaccard index of each class in the batch, mean of the classes.

    Berman et al., The Lovász-Softmax Loss, CVPR 2018: sorts the pixels' errors. In float32 only.
    """

    def __init__(self) -> None:
        super().__init__("LovaszLoss")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32."""
        if not (target != IGNORE).any():  # the library answers with an empty tensor
            return logits.float().sum() * 0.0
        return super().forward(logits.float(), target)


class NoLabels(Loss):
    """0, with a gradient of 0: for a training that lessons teach, not the masks of its batches."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32."""
        return logits.float().sum() * 0.0

    def count(self, target: Tensor) -> int:
        """None."""
        return 0

    def __str__(self) -> str:
        return "no labels"


class WeightedSum(Loss):
    """The sum of losses, each times its weight."""

    def __init__(self, *terms: tuple[float, Loss]) -> None:
        super().__init__()
        self.weights = tuple(float(weight) for weight, _ in terms)
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar float32."""
        terms = zip(self.weights, self.losses, strict=True)
        return torch.stack([weight * loss(logits, target) for weight, loss in terms]).sum()

    def __str__(self) -> str:
        terms = zip(self.weights, self.losses, strict=True)
        return " + ".join(str(loss) if w == 1 else f"{w:g}·{loss}" for w, loss in terms)


def _terms(loss: Loss) -> list[tuple[float, Loss]]:
    if isinstance(loss, WeightedSum):
        return [
            (weight, term)
            for weight, term in zip(loss.weights, loss.losses, strict=True)
            if isinstance(term, Loss)
        ]
    return [(1.0, loss)]


def _of_classes(logits: Tensor) -> Tensor:
    """Logits of classes as they are; one logit becomes two, that of the first class being 0."""
    if logits.ndim == 1:
        logits = logits[:, None]
    if logits.shape[1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def _exact(logits: Tensor) -> Tensor:
    """Half precision is not enough for sums over pixels."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _true_class(logits: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log probability of each pixel's class and the pixel's weight, (B, H, W); ignored ones 0."""
    valid = target != IGNORE
    known = torch.where(valid, target, 0)
    log_p = logits.log_softmax(1).gather(1, known[:, None])[:, 0]
    of_pixel = valid.to(logits.dtype) if weight is None else weight[known] * valid
    return log_p, of_pixel
