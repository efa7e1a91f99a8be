"""Networks that answer more than one question, and losses of their answers.

Beside the logits of the classes a network may give further answers, its heads: maps (the height
above ground, a second opinion on the mapped class), and one number a sample from its deepest
features (is there a building at all, how large is a pixel). Such a network returns a dict,
{"classes": …, "height": …}; whoever wants classes takes them with `class_logits`. A batch then has
several targets, {"mask": …, "height": …}, and a criterion says which loss is whose:
`On("classes", "mask", CrossEntropy()) + 10 * On("height", "height", SmoothL1())`. A loss without
`On` is of the classes and the mask.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE
from builtup.models.losses import Loss

__all__ = [
    "CLASSES",
    "HEADS",
    "MASK",
    "TAGS",
    "TARGETS",
    "BinaryDice",
    "Heads",
    "MultiTask",
    "On",
    "Outputs",
    "SampleHeads",
    "SmoothL1",
    "Targets",
    "Term",
    "class_logits",
    "each",
    "head_convolutions",
    "heads_of",
    "mask_of",
    "require_heads",
    "sample_heads",
    "terms_of",
    "valid_elements",
    "with_samples",
    "without_heads",
]

#: What a network returns: logits of the classes (B, C, H, W), or these and what its heads give.
Outputs = Tensor | Mapping[str, Tensor]
#: What a batch is taught by: the mask (B, H, W) int64, or this and further targets by name.
Targets = Tensor | Mapping[str, Tensor]

#: The head of the classes and its target.
CLASSES, MASK = "classes", "mask"
#: What a map beside the classes can be, (B, 1, H, W), and what its convolution is multiplied by.
#: `height` is in metres, by those of a storey or two, so that it is learnt at the rate at which
#: classes are; `building` is the logit of the mapped class.
_MAPS: dict[str, float] = {"height": 5.0, "building": 1.0}
#: What a head of a whole sample can be, (B,): `presence` the logit of that there is any building,
#: `scale` the natural logarithm of a pixel's side in metres.
_OF_SAMPLE = ("presence", "scale")
#: All heads there are beside the classes.
HEADS = (*_MAPS, *_OF_SAMPLE)
#: What a batch may be taught by beside its mask: `height` (B, 1, H, W) float32 in metres;
#: `presence` (B,) whole numbers, 1 where any valid pixel is of the mapped class, 255 where none is
#: valid; `log_pixel` (B,) float32, the logarithm that `scale` gives; `tags` (B, K) float32, of
#: each class 1 where it occurs in the sample's cell, 0 where not, or its share, or (B, n, K) of
#: samples of n cells, whose numbers are the mask then. NaN is unknown.
TAGS = "tags"
TARGETS = ("height", "presence", "log_pixel", TAGS)


def class_logits(outputs: Outputs) -> Tensor:
    """The logits of the classes (B, C, H, W), whatever else a network returned."""
    return outputs if isinstance(outputs, Tensor) else outputs[CLASSES]


def mask_of(targets: Targets) -> Tensor:
    """The mask (B, H, W), whatever else a batch is taught by."""
    return targets if isinstance(targets, Tensor) else targets[MASK]


def tagged_cells(targets: Targets) -> tuple[Tensor, Tensor]:
    """The tags (B, n, K) of a batch's cells, and the pixels (B, n, H, W) that lie in each.

    Raises ConfigError where the batch has no tags.
    """
    if isinstance(targets, Tensor) or TAGS not in targets:
        raise ConfigError("tags: the batches have none; take tag_loader for this lesson")
    tags, mask = targets[TAGS], targets[MASK]
    tags = tags if tags.ndim == 3 else tags[:, None]
    numbers = torch.arange(tags.shape[1], device=mask.device)
    return tags, mask[:, None] == numbers[:, None, None]


def each(outputs: Outputs, change: Callable[[Tensor], Tensor]) -> Outputs:
    """What a network returned, each of its maps changed; what is of whole samples as it is."""
    if isinstance(outputs, Tensor):
        return change(outputs)
    return {name: change(v) if v.ndim == 4 else v for name, v in outputs.items()}


def valid_elements(loss: nn.Module, target: Tensor) -> int:
    """The elements of a target that a loss is a mean of.

    Its own `count` says so where it is one of ours; of others the valid ones, which are not 255 in
    whole numbers and not NaN in others.
    """
    if isinstance(loss, Loss):
        return loss.count(target)
    valid = ~target.isnan() if target.is_floating_point() else target != IGNORE
    return int(valid.sum())


# --- networks -------------------------------------------------------------------------------------


class Heads(nn.Module):
    """Stands in place of a network's last layer: from its features to {"classes": …, <map>: …}.

    `classes` is that layer, `further` one of each map, which its unit multiplies.
    """

    def __init__(self, classes: nn.Module, further: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.classes = classes
        self.further = nn.ModuleDict(further)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """All maps of a batch of features."""
        found = {CLASSES: self.classes(features)}
        for name, head in self.further.items():
            found[name] = head(features) * _MAPS[name]
        return found


class SampleHeads(nn.Module):
    """Heads of whole samples: from a network's deepest features (B, C, h, w) to {<head>: (B,)}.

    Each is a linear layer on the features' mean over the sample.
    """

    def __init__(self, channels: int, names: Sequence[str]) -> None:
        super().__init__()
        self.further = nn.ModuleDict({name: nn.Linear(channels, 1) for name in names})

    def forward(self, deepest: Tensor) -> dict[str, Tensor]:
        """All heads of a batch of features."""
        mean = deepest.mean((2, 3))
        return {name: head(mean)[:, 0] for name, head in self.further.items()}


def require_heads(heads: Sequence[str]) -> None:
    """ConfigError for a head that is unknown or named twice."""
    wrong = [name for name in heads if name not in HEADS or list(heads).count(name) > 1]
    if isinstance(heads, str) or wrong:
        raise ConfigError(
            f"heads = {heads!r}: expected a tuple of some of {', '.join(HEADS)}, each once"
        )


def head_convolutions(heads: Sequence[str], features: int, blocks: int = 1) -> dict[str, nn.Conv2d]:
    """A 1×1 convolution on `features` channels for each head that is a map, for `blocks` pixels at
    once."""
    return {name: nn.Conv2d(features, blocks, 1) for name in heads if name in _MAPS}


def sample_heads(heads: Sequence[str], channels: int) -> SampleHeads | None:
    """Those of the heads that are of whole samples, on `channels` deepest features; None if none
    is."""
    names = [name for name in heads if name in _OF_SAMPLE]
    return SampleHeads(channels, names) if names else None


def with_samples(outputs: Outputs, heads: SampleHeads | None, deepest: Tensor) -> Outputs:
    """What a network returned, and what heads of whole samples, if any, say of its features."""
    if heads is None:
        return outputs
    maps = {CLASSES: outputs} if isinstance(outputs, Tensor) else outputs
    return {**maps, **heads(deepest)}


def heads_of(model: nn.Module) -> tuple[str, ...]:
    """The heads that a model has beside its classes."""
    parts = [m.further for m in model.modules() if isinstance(m, Heads | SampleHeads)]
    return tuple(name for further in parts for name in further)


def without_heads(model: nn.Module) -> nn.Module:
    """The model, changed in place, with its classes alone; their logits stay what they are."""
    for module in list(model.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, Heads):
                setattr(module, name, part.classes)
            elif isinstance(part, SampleHeads):
                setattr(module, name, None)
        if isinstance(settings := getattr(module, "settings", None), dict):
            settings.pop("heads", None)  # what a model's file says that it is built from
    return model


# --- losses ---------------------------------------------------------------------------------------


class _Sums(nn.Module):
    """Adds and scales as `builtup.models.losses.Loss` does, with losses of the classes among it."""

    def __add__(self, other: nn.Module) -> MultiTask:
        """The sum of two losses."""
        return MultiTask(*_weighted(self), *_weighted(other))

    def __radd__(self, other: nn.Module) -> MultiTask:
        """The sum of two losses."""
        return MultiTask(*_weighted(other), *_weighted(self))

    def __rmul__(self, factor: float) -> MultiTask:
        """`factor` times this loss."""
        return MultiTask(*((factor * weight, loss) for weight, loss in _weighted(self)))


class On(_Sums):
    """A loss of one head and one target, picked from what network and batch give.

    Called with `Outputs` and `Targets`; scalar. Raises ConfigError where there is no such head or
    target.
    """

    def __init__(self, head: str, target: str, loss: nn.Module) -> None:
        super().__init__()
        self.head, self.target, self.loss = head, target, loss

    def forward(self, outputs: Outputs, targets: Targets) -> Tensor:
        """The loss of a batch."""
        given = {CLASSES: outputs} if isinstance(outputs, Tensor) else outputs
        if self.head not in given:
            raise ConfigError(
                f"{self}: the network has the heads {', '.join(given)}; add it to `heads`"
            )
        value: Tensor = self.loss(given[self.head], self._target(targets))
        return value

    def count(self, targets: Targets) -> int:
        """The elements of its target that it is a mean of."""
        return valid_elements(self.loss, self._target(targets))

    def _target(self, targets: Targets) -> Tensor:
        given = {MASK: targets} if isinstance(targets, Tensor) else targets
        if self.target not in given:
            raise ConfigError(
                f"{self}: the batches have {', '.join(given)}; ask the loader for it by `targets`"
            )
        return given[self.target]

    def __str__(self) -> str:
        return str(self.loss) if self.head == CLASSES else f"{self.head} {self.loss}"


class MultiTask(_Sums):
    """The sum of losses of heads, each times its weight; one that is not `On` is of the classes."""

    def __init__(self, *terms: tuple[float, nn.Module]) -> None:
        super().__init__()
        self.weights = tuple(float(weight) for weight, _ in terms)
        self.losses = nn.ModuleList(
            loss if isinstance(loss, On) else On(CLASSES, MASK, loss) for _, loss in terms
        )

    def forward(self, outputs: Outputs, targets: Targets) -> Tensor:
        """Scalar; each loss a mean over the valid elements of its own target."""
        terms = zip(self.weights, self.losses, strict=True)
        return torch.stack([weight * loss(outputs, targets) for weight, loss in terms]).sum()

    def __str__(self) -> str:
        terms = zip(self.weights, self.losses, strict=True)
        return " + ".join(str(loss) if w == 1 else f"{w:g}·{loss}" for w, loss in terms)


def _weighted(loss: nn.Module) -> list[tuple[float, nn.Module]]:
    if isinstance(loss, MultiTask):
        return list(zip(loss.weights, loss.losses, strict=True))
    return [(1.0, loss)]


@dataclass(frozen=True)
class Term:
    """A loss of a criterion as training counts it: its name in the log, weight and loss."""

    name: str
    weight: float
    loss: On


def terms_of(criterion: nn.Module) -> tuple[Term, ...]:
    """The terms of a criterion of heads, by which it is counted; none of a plain loss.

    A term is called after its head, a second one of a head <head>_2.
    """
    if not isinstance(criterion, On | MultiTask):
        return ()
    seen: Counter[str] = Counter()
    terms = []
    for weight, loss in _weighted(criterion):
        assert isinstance(loss, On)
        seen[loss.head] += 1
        name = loss.head if seen[loss.head] == 1 else f"{loss.head}_{seen[loss.head]}"
        terms.append(Term(name, weight, loss))
    return tuple(terms)


class BinaryDice(Loss):
    """1 − soft Dice index of one class by one logit (B, 1, H, W), over the batch's valid pixels.

    The target is a mask (B, H, W) of any classes, in which `mapped` is the one that is meant. 0,
    with a gradient of 0, where no valid pixel is of it: an index of nothing says nothing.
    """

    def __init__(self, *, mapped: int = 1) -> None:
        super().__init__()
        self.mapped = mapped

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the logits."""
        if logits.shape[1] != 1:
            raise ConfigError(f"{self}: of one logit a pixel, not {logits.shape[1]}")
        exact = logits if logits.dtype == torch.float64 else logits.float()
        valid, true = target != IGNORE, target == self.mapped
        p = torch.where(valid, exact[:, 0].sigmoid(), 0.0)
        counted = true.sum()
        index = 2 * (p * true).sum() / (p.sum() + counted).clamp(min=1e-7)
        return torch.where(counted > 0, 1 - index, 0.0)

    def __str__(self) -> str:
        return "binary Dice"


class SmoothL1(nn.Module):
    """Smooth L1 loss (Huber's, divided by its unit), averaged over what is known of the target.

    Errors are divided by `unit` (metres of a height, 1 of logarithms): below it a squared error
    counts half, above it the error less a half (Girshick, Fast R-CNN, ICCV 2015). Output and target
    are of one shape, (B, 1, H, W) or (B,); NaN in the target is not known. 0, with a gradient of 0,
    where nothing is known.
    """

    def __init__(self, unit: float = 5.0) -> None:
        super().__init__()
        if not 0 < unit < float("inf"):
            raise ConfigError(f"smooth L1: unit = {unit}: expected a number above 0")
        self.unit = unit

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Scalar, float32 or as exact as the output."""
        exact = output if output.dtype == torch.float64 else output.float()
        known = ~target.isnan()
        # 0 stands in before the difference: the gradient of NaN is NaN even where it is masked
        wanted = torch.where(known, target, 0.0).to(exact.dtype)
        error = torch.where(known, exact - wanted, 0.0) / self.unit
        total = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="sum")
        return total / known.sum().clamp(min=1)

    def __str__(self) -> str:
        return f"smooth L1({self.unit:g})"
