"""The settings that scripts read from a config: types, defaults, readers, and what makes sense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["BUILDERS", "FUNCTIONS", "KNOWN", "PROVIDED", "SPACE", "STUDY", "Known", "senseless"]

#: The functions that a config may define, in the order in which they are called.
BUILDERS = (
    "model",
    "train_loader",
    "val_loader",
    "train_eval_loader",
    "criterion",
    "lessons",
    "optimizer",
    "lr_scheduler",
    "prepare_batch",
)
#: What they may ask for besides one another.
PROVIDED = ("device", "total_steps")
#: What `search` asks for settings to try, and all functions of the contract.
SPACE = "space"
FUNCTIONS = (*BUILDERS, SPACE)

TRAINING, INFERENCE, STUDY = "training", "inference", "cross_validate"
SEARCH = "search"


@dataclass(frozen=True)
class Known:
    """A setting of the contract: its type, its value where a config says nothing, its readers.

    `by` are those that read it themselves: training, inference, cross_validate, search. Where there
    is none, a config's own functions must.
    """

    kind: Any
    default: Any = ...  # absent
    by: tuple[str, ...] = (TRAINING,)


def _inference(kind: Any, *further: str) -> Known:
    return Known(kind, by=(INFERENCE, *further))


def _own(kind: Any) -> Known:
    return Known(kind, by=())


#: The settings that scripts read. A config may have others, for its own functions.
KNOWN: Mapping[str, Known] = {
    # training and inference
    "seed": Known(int),
    "num_classes": Known(int),
    "device": Known(str, "auto", (TRAINING, INFERENCE)),  # auto, cpu, cuda, cuda:1
    "amp": Known(bool | None, None, (TRAINING, INFERENCE)),  # None: on a GPU only
    "channels_last": Known(bool, True),
    "compile": Known(bool, False),
    "data_path": Known(str, by=(TRAINING, INFERENCE)),
    "batch_size": Known(int, by=(INFERENCE,)),
    "num_workers": Known(int, by=()),
    # training
    "num_epochs": Known(int),
    "accumulation_steps": Known(int, 1),
    "clip_grad_norm": Known(float | None, None),
    "val_interval": Known(int, 1),  # epochs
    "validate": Known(bool, True),  # False: the held-out fold is never looked at
    "start_by_validation": Known(bool, False),
    "es_patience": Known(int | None, None),  # validations without a better val_metrics[0]
    "val_metrics": Known(tuple, ("f1", "iou", "precision", "recall", "macro_f1")),
    "ema_decay": Known(float | None, None),
    "ema_warmup": Known(str, "ten"),  # how the decay grows: ten, or one as UniMatch V2's
    "teacher": Known(str, ""),  # a run whose network the training begins with: configs/selftrain
    "soup": Known(int, 0),  # weights of so many last epochs are averaged at the end
    "max_minutes": Known(float | None, None),
    "resume_from": Known(str, "", (TRAINING, INFERENCE)),  # a run id or a folder of artifacts
    "log_predictions": Known(int, 4),  # validation tiles drawn after each better validation
    "log_interval": Known(int, 10),  # iterations between points of the loss curve
    "log_model": Known(bool, True),  # log and register the trained network as an MLflow model
    "register": Known(str | None, None),  # under this name, as @champion; None: see registry.py
    "val_fold": Known(int | str | None, by=(TRAINING, INFERENCE)),
    "folds_drop": Known(bool, False, (STUDY,)),
    "normalisation": Known(str, "config"),  # or "stats": of the training folds' pixels
    "pretrained": _own(bool | str),
    # of the bases in configs/train: what may be None or not
    "scale": _own(tuple | None),
    "sampler_weights": _own(tuple | None),
    "class_weights": _own(tuple | None),
    "keep": _own(float | tuple),
    "mean": _own(tuple | None),
    "std": _own(tuple | None),
    "speckle_looks": _own(float | tuple | None),
    "pixel_size": _own(tuple | None),
    "reference_pixel": Known(float | None, None, (STUDY,)),  # metres, of what samples see
    "coarse_dropout": _own(tuple | None),
    # cross-validation
    "threshold_from": Known(str | None, None),  # without val_fold: a cross-validation that chose it
    "threshold_fold": Known(int | str | None, None),  # also held out, to choose the threshold on
    "threshold_tiles": Known(int | None, 256, (STUDY,)),  # left-in tiles that choose it; None: all
    "class_names": Known(tuple, ("background", "building")),
    # search
    "metric": Known(str, by=(SEARCH,)),  # of each validation, the more the better: val/iou
    "trials": Known(int, by=(SEARCH,)),  # of the whole study
    "pruner": Known(str, by=(SEARCH,)),  # median, hyperband or none
    "startup": Known(int, by=(SEARCH,)),  # trials at random, before which none is pruned
    "tuned_by": Known(str, ""),  # the run of the search that chose settings: on which ground
    # inference
    "run_id": _inference(str),
    "of": _inference(str),  # a training config's name, where run_id is empty
    "weights": _inference(str),  # best, last or soup, or a file
    "tta": _inference(str | tuple | bool | None, STUDY),
    "adapt": _inference(str),  # none, auto, scene or city: statistics of the normalisation
    "window": _inference(int | None, STUDY),
    "overlap": _inference(int | None, STUDY),
    "stride": _inference(int | None),  # steps of window // stride instead of an overlap
    "blend": _inference(str, STUDY),
    "by": _inference(str),  # tiles, or scenes: whole ones, which several scales need
    "fold": _inference(str),  # of several scales: vote, soft, mean, logits, logits:<a fit>
    "scales": _inference(tuple),  # by the sizes of scene and window where there are none
    "exponent": _inference(float),
    "alpha": _inference(float),
    "threshold": _inference(float | str | None),
    "temperature": _inference(float | str | None),  # of the logits; "run": that of the training run
    "has_targets": _inference(bool),
    "save_raw_predictions": _inference(bool),
    "save_overlays": _inference(bool | int),
    "backend": _inference(str),  # torch, openvino, openvino-int8, auto
    "decoders": _inference(int | None),  # read ahead; None: for a GPU, and 0: a thread
    "calibration_path": _inference(str | None),  # of an 8-bit network; None: the training's tiles
}


# --- values that make sense ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Range:
    """Finite numbers from `least` to `most`; without the ends where it is `open`."""

    least: float = 0.0
    most: float = math.inf
    open: str = ""  # "least", "most"

    def holds(self, value: float) -> bool:
        above = value > self.least if self.open == "least" else value >= self.least
        below = value < self.most if self.open == "most" else value <= self.most
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.open == "least":
            return f"a number above {self.least:g}"
        if self.open == "most":
            return f"{self.least:g} or more, below {self.most:g}"
        if self.most == math.inf:
            return f"{self.least:g} or more"
        return f"a number from {self.least:g} to {self.most:g}"


_COUNT, _SOME, _SHARE, _POSITIVE = _Range(1), _Range(), _Range(0, 1), _Range(open="least")
#: What numbers make sense, also of a config's own settings of these names; of a tuple each part.
_RANGES: Mapping[str, _Range] = {
    **dict.fromkeys(
        [
            *("num_epochs", "accumulation_steps", "val_interval", "log_interval", "es_patience"),
            *("batch_size", "val_batch_size", "samples_per_epoch", "max_tiles", "crop", "widths"),
            *("window", "threshold_tiles", "stride", "trials", "startup"),
        ],
        _COUNT,
    ),
    **dict.fromkeys(
        [
            *("num_workers", "max_minutes", "log_predictions", "lr", "weight_decay", "jaccard"),
            *("gain_db", "common_gain_db", "noise_floor", "contrast", "speckle_filter"),
            *("class_weights", "sampler_weights", "overlap", "decoders"),
        ],
        _SOME,
    ),
    **dict.fromkeys(
        ("dropout", "label_smoothing", "mix_dates", "drop_polarisation", "threshold"), _SHARE
    ),
    **dict.fromkeys(
        ("clip_grad_norm", "speckle_looks", "temperature", "std", "scale", "ratio", "pixel_size"),
        _POSITIVE,
    ),
    **dict.fromkeys(("ema_decay", "momentum"), _Range(0, 1, "most")),
    "seed": _Range(0, 2**31 - 1),
    "num_classes": _Range(2, 254),
}
_PAIRS = {"scale", "ratio", "pixel_size", "speckle_looks"}


def senseless(name: str, value: Any) -> str:
    """What was expected of a setting, in words, where its value makes no sense; else nothing.

    Values of other kinds than numbers and tuples of them are not judged.
    """
    wanted = _RANGES.get(name)
    parts = value if isinstance(value, tuple) else (value,)
    if wanted is None or any(type(part) not in {int, float} for part in parts):
        return _soup(value) if name == "soup" else ""
    if isinstance(value, tuple) and name in _PAIRS:
        good = len(value) == 2 and wanted.holds(value[0]) and value[0] <= value[-1] < math.inf
        return "" if good else "two numbers above 0, the smaller first"
    if not all(wanted.holds(part) for part in parts):
        return f"{wanted}, each" if isinstance(value, tuple) else str(wanted)
    if name.endswith("_weights") and not any(parts):
        return "weights, one of them above 0"
    return ""


def _soup(value: Any) -> str:
    return "0, or 2 or more" if type(value) is int and (value < 0 or value == 1) else ""
