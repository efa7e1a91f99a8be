"""The trained network that predicts, checked: it takes VV and VH, and what it depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import nn

from builtup.errors import BuiltupError, ConfigError, RunError, one_line
from builtup.geo.probability import moved_threshold
from builtup.prediction.memory import halving, within_memory
from builtup.prediction.network import make_stream
from builtup.prediction.windows import Stream
from builtup.runs.records import InferenceRecord
from builtup.training.checkpoints import Trained, load_trained, weights_digest

__all__ = ["Loaded", "Recipe", "load", "load_for_workers"]

#: Side of the image that a network is tried with.
_SIDE = 64


@dataclass(frozen=True)
class Recipe:
    """How scenes are predicted; `model` is a run id, models:/…, an artifact folder or weights."""

    model: str
    tta: str = "none"
    window: int = 512
    overlap: int = 64
    batch_size: int = 4
    blend: str = "ramp"
    temperature: str = ""
    device: str = "auto"
    backend: str = "torch"
    decoders: int | None = None


@dataclass(frozen=True)
class Loaded:
    """A recipe, ready: the stream, the model it is of, and the temperature that it divides by.

    `device` is the one of the stream, or the workers' as the recipe names it.
    """

    recipe: Recipe
    stream: Stream
    trained: Trained
    weights: str
    temperature: float | None
    device: str

    @property
    def record(self) -> InferenceRecord:
        """What the pixels of a prediction depend on."""
        recipe = self.recipe
        return InferenceRecord(
            training_run=self.trained.run_id,
            weights=self.weights,
            classes=self.trained.class_names,
            tta=recipe.tta,
            window=recipe.window,
            overlap=recipe.overlap,
            blend=recipe.blend,
            temperature=self.temperature,
            backend=self.stream.backend,
        )

    @property
    def threshold(self) -> float:
        """The model's own threshold, moved with its probabilities where there is a temperature."""
        return moved_threshold(self.trained.threshold, self.temperature)


@lru_cache(maxsize=1)
def load(recipe: Recipe) -> Loaded:
    """Load the model and make its stream, once in a process.

    Raises InputError, RunError or ConfigError for a model that cannot be had, takes other bands
    than VV and VH, or settings that make no sense.
    """
    trained = load_trained(recipe.model)
    classes = _classes(trained, recipe.model)
    temperature = _temperature(recipe.temperature, trained)
    weights = weights_digest(trained.model.state_dict())
    made = partial(
        make_stream,
        trained.model,
        window=recipe.window,
        overlap=recipe.overlap,
        batch_size=recipe.batch_size,
        tta=recipe.tta,
        device=recipe.device,
        amp=trained.settings.get("amp") is not False,
        num_classes=classes,
        blend=recipe.blend,
        temperatures=(temperature or 1.0,),
        backend=recipe.backend,
        quantised=_quantised(recipe, trained, temperature),
        decoders=recipe.decoders,
    )
    stream = halving(within_memory(f"model={recipe.model}", made))
    return Loaded(recipe, stream, trained, weights, temperature, str(stream.device))


def load_for_workers(recipe: Recipe) -> Loaded:
    """The model, checked on the CPU of this machine, for workers that may have another device.

    They do without `backend=auto`, which a race on this machine would decide. Raises as `load`.
    """
    elsewhere = recipe.device == "auto" or recipe.device.startswith("cuda")
    if not elsewhere:
        loaded = load(recipe)
        return replace(loaded, recipe=replace(recipe, backend=loaded.stream.backend))
    if recipe.backend.startswith("openvino") and recipe.device != "auto":
        raise ConfigError(f"backend={recipe.backend}: runs on the CPU; set device=cpu")
    recipe = replace(recipe, backend="torch" if recipe.backend == "auto" else recipe.backend)
    return replace(load(replace(recipe, device="cpu")), recipe=recipe, device=recipe.device)


def _quantised(recipe: Recipe, trained: Trained, temperature: float | None) -> Path | None:
    """The folder of the 8-bit network, calibrated and judged on the training run's own data."""
    if recipe.backend != "openvino-int8":
        return None
    from builtup.prediction.backends.int8 import Quantisation, quantised_network

    return quantised_network(
        Quantisation.of(
            trained,
            threshold=moved_threshold(trained.threshold, temperature),
            window=recipe.window,
            overlap=recipe.overlap,
            temperature=temperature or 1.0,
        )
    )


@torch.inference_mode()
def _classes(trained: Trained, name: str) -> int:
    """The number of classes of a network; BuiltupError where it does not take VH and VV."""
    power = torch.full((1, 2, _SIDE, _SIDE), 0.1)
    try:
        logits = trained.model(power)
        shape = tuple(logits.shape)
    except (RuntimeError, ValueError, IndexError, TypeError) as e:
        raise BuiltupError(
            f"model={name}: takes {_bands(trained.model)}, not VH and VV ({one_line(e, 120)}); "
            "choose a model that was trained on VV and VH"
        ) from e
    if len(shape) != 4 or shape[0] != 1 or shape[2:] != power.shape[2:] or shape[1] < 2:
        raise BuiltupError(
            f"model={name}: gives {shape} for an image of {tuple(power.shape)}, not logits of each "
            "class and pixel; choose a model for segmentation"
        )
    return max(2, len(trained.class_names), shape[1])


def _bands(model: nn.Module) -> str:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return "other bands" if first is None else f"{first.in_channels} bands"


def _temperature(given: str, trained: Trained) -> float | None:
    """What logits are divided by: a number, that of the training run, or nothing."""
    if not given:
        return None
    if given == "run":
        if trained.temperature is None:
            raise RunError(
                f"temperature=run: the training run {trained.run_id} has none; "
                "take a fold of cross_validate, or give a number"
            )
        return trained.temperature
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise ConfigError(f"temperature={given}: expected run or a number above 0")
    return value
