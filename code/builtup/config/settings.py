"""The settings that scripts read from a config: their types and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KNOWN", "Known"]


@dataclass(frozen=True)
class Known:
    """A setting of the contract: its type, and its value where a config says nothing."""

    kind: Any
    default: Any = ...  # absent


#: The settings that scripts read. A config may have others, for its own functions.
KNOWN: Mapping[str, Known] = {
    # training and inference
    "seed": Known(int),
    "num_classes": Known(int),
    "device": Known(str, "auto"),  # auto, cpu, cuda, cuda:1
    "amp": Known(bool | None, None),  # None: on a GPU only
    "channels_last": Known(bool, True),
    "compile": Known(bool, False),
    "data_path": Known(str),
    "batch_size": Known(int),
    "num_workers": Known(int),
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
    "soup": Known(int, 0),  # weights of so many last epochs are averaged at the end
    "max_minutes": Known(float | None, None),
    "resume_from": Known(str, ""),  # a run id or a folder of artifacts
    "log_predictions": Known(int, 4),  # validation tiles drawn after each better validation
    "log_interval": Known(int, 10),  # iterations between points of the loss curve
    "log_model": Known(bool, True),  # log and register the trained network as an MLflow model
    "register": Known(str | None, None),  # under this name, as @champion; None: see registry.py
    "val_fold": Known(int | str | None),
    "folds_drop": Known(bool, False),
    "normalisation": Known(str, "config"),  # or "stats": of the training folds' pixels
    "pretrained": Known(bool | str),
    # of the bases in configs/train: what may be None or not
    "scale": Known(tuple | None),
    "sampler_weights": Known(tuple | None),
    "mean": Known(tuple | None),
    "std": Known(tuple | None),
    "speckle_looks": Known(float | None),
    "coarse_dropout": Known(tuple | None),
    # cross-validation
    "threshold_from": Known(str | None, None),  # without val_fold: a cross-validation that chose it
    "threshold_fold": Known(int | str | None, None),  # also held out, to choose the threshold on
    "threshold_tiles": Known(int | None, 256),  # left-in tiles that choose it; None: all
    "class_names": Known(tuple, ("background", "building")),
    # inference
    "run_id": Known(str),
    "of": Known(str),  # a training config's name, where run_id is empty
    "weights": Known(str),  # best, last or soup, or a file
    "tta": Known(str | tuple | bool | None),
    "window": Known(int | None),
    "overlap": Known(int | None),
    "blend": Known(str),
    "threshold": Known(float | str | None),
    "temperature": Known(float | str | None),  # of the logits; "run": that of the training run
    "has_targets": Known(bool),
    "save_raw_predictions": Known(bool),
    "save_overlays": Known(bool | int),
    "backend": Known(str),  # torch, openvino, openvino-int8, auto
    "decoders": Known(int | None),  # processes that read ahead; None: for a GPU, and 0: a thread
    "calibration_path": Known(str | None),  # of an 8-bit network; None: the training run's tiles
}
