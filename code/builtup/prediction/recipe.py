"""How pixels become probabilities: what is chosen, and the trained network that does it, checked.

The tile script and `predict` choose a `Recipe`, from a config or from options, and make it ready
here: weights, temperature, threshold, the 8-bit network and the stream come from one place, and
one record says what the pixels depend on.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import nn

from builtup.errors import BuiltupError, ConfigError, one_line
from builtup.geo.probability import moved_threshold, parse_threshold
from builtup.geo.windows import stride_overlap
from builtup.jobs import executors
from builtup.models.batch_statistics import norm_layers, with_statistics
from builtup.models.channels import inputs_of, sensor_of_model
from builtup.models.heads import class_logits
from builtup.prediction.adapt import Adapt, Adapted
from builtup.prediction.cascade import Cascade
from builtup.prediction.fold import ALPHA
from builtup.prediction.network import make_stream, within_memory
from builtup.prediction.windows import Stream
from builtup.runs.model_file import SHIPPED
from builtup.runs.records import InferenceRecord
from builtup.runs.registry import champion_by_default
from builtup.sensors.catalogue import DEFAULT
from builtup.training.checkpoints import Trained, load_trained, weights_digest

__all__ = ["Loaded", "Recipe", "load", "load_for_jobs", "ready"]

log = logging.getLogger(__name__)

#: The threshold of adapted networks: of those that no label chooses it loses least, see
#: docs/results.md.
HALF = 0.5
#: The doubt about a network that no real scene has taught.
SIMULATED_ONLY = "its network has learnt from simulated ground only"
#: Side of the image that a network is tried with.
_SIDE = 64


@dataclass(frozen=True)
class Recipe:
    """How pixels are predicted.

    `model` is a run id, models:/…, an artifact folder, a file of weights, or the model that comes
    with builtup (`shipped`). `window` and `overlap` are pixels, `batch_size` windows; a `stride`
    takes the place of the overlap: windows then follow each other by `window // stride` pixels.
    `threshold` is a number in (0, 1], empty for the model's own; `temperature` a number above 0,
    `run` for the one fitted to the model, empty for none. `amp` (half precision on a GPU) is as in
    the training where it is None. `calibration_path` is the folder of training tiles that
    `backend=openvino-int8` is made from, the run's own where empty. `adapt` says whether the
    network's normalisation is fitted to what is mapped: auto, none, scene or city, with another
    weight than usual scene:0.5, see `builtup.prediction.adapt.Adapt`. With a `fold` whole scenes
    are predicted at several `scales`, or those that follow from their size and `exponent`, and
    folded with the share `alpha` of coarser ones, see `builtup.prediction.cascade`.
    """

    model: str = SHIPPED
    tta: str = "none"
    window: int = 512
    overlap: int = 64
    batch_size: int = 4
    blend: str = "ramp"
    threshold: str = ""
    temperature: str = ""
    device: str = "auto"
    backend: str = "torch"
    decoders: int | None = None
    amp: bool | None = None
    calibration_path: str = ""
    adapt: str = "auto"
    stride: int | None = None
    fold: str = ""
    scales: tuple[float, ...] = ()
    exponent: float = 2.0
    alpha: float = ALPHA

    @property
    def least_overlap(self) -> int:
        """The least pixels that neighbouring windows share; ConfigError for a senseless stride."""
        if self.stride is None:
            return self.overlap
        if not 1 <= self.stride <= self.window:
            raise ConfigError(
                f"stride={self.stride}: windows of {self.window} pixels follow each other by "
                f"window // stride pixels; use a number from 1 to {self.window}"
            )
        return stride_overlap(self.window, self.stride)


@dataclass(frozen=True)
class Loaded:
    """A recipe, ready: the stream, the model it is of, and the temperature that it divides by.

    `weights` is their sha256; `device` the one of the stream, or the workers' as the recipe names
    it.
    """

    recipe: Recipe
    stream: Stream
    trained: Trained
    weights: str
    temperature: float | None
    device: str
    cascade: Cascade | None = None

    def record(self, held_out: str = "", *, simulated: bool = False) -> InferenceRecord:
        """What the pixels depend on; `held_out` names the fold that is predicted.

        With what speaks against the model on the ground at hand, which may be `simulated` itself.
        """
        doubts = [] if simulated or not self.trained.simulated else [SIMULATED_ONLY]
        doubts += champion_by_default(self.recipe.model)
        fitted = None if self.cascade is None else self.cascade.fitted
        return InferenceRecord(
            training_run=self.trained.run_id,
            weights=self.weights,
            classes=self.trained.class_names,
            tta=self.recipe.tta,
            window=self.stream.window,
            overlap=self.stream.overlap,
            blend=self.stream.blend,
            held_out=held_out,
            temperature=self.temperature,
            backend=self.stream.backend,
            doubts=tuple(doubts) or None,
            adapt=str(self.adapt) if self.adapt.is_on else None,
            fold=None if self.cascade is None else str(self.cascade),
            fold_tuned_on=None if fitted is None else fitted.tuned_on,
        )

    @property
    def adapt(self) -> Adapt:
        """What the normalisation is fitted to; none for a network that has no such layers.

        Those of an 8-bit network are numbers of its training: `auto` leaves it as it is. A model
        that is one file may say what `auto` is for it. Else `auto` leaves networks of images alone:
        all that were tried lost by adapting, docs/results.md.
        """
        if self.recipe.backend == "openvino-int8" or not norm_layers(self.trained.model):
            return Adapt("none")
        how, said = Adapt.parse(self.recipe.adapt), self.trained.description
        if said is not None and how == Adapt():
            how = Adapt.parse(said.adapt)
        of_images = sensor_of_model(self.trained.model) is not DEFAULT
        return Adapt("none") if of_images and how.mode == "auto" else how

    def adapted(self, path: Path) -> Loaded:
        """The network with the statistics that `path` holds, on the same backend; itself where
        that says that the scene was not adapted to."""
        moments = Adapted.read(path).moments
        if not moments:
            return self
        model = with_statistics(self.trained.model, moments)
        recipe = replace(self.recipe, backend=self.stream.backend)
        return ready(recipe, replace(self.trained, model=model, threshold=self._when_adapted))

    @property
    def _when_adapted(self) -> float:
        """The model's threshold once adapted: 0.5, unless its file says that its own is fixed,
        which was chosen for other statistics."""
        said = self.trained.description
        return self.trained.threshold if said and said.threshold_rule == "fixed" else HALF

    @property
    def by_threshold(self) -> bool:
        """Whether pixels are decided by a threshold: there are two classes."""
        return len(self.trained.class_names) == 2

    @property
    def adapted_threshold(self) -> float:
        """The threshold of adapted maps: as `threshold`."""
        given = parse_threshold(self.recipe.threshold)
        return moved_threshold(self._when_adapted, self.temperature) if given is None else given

    @property
    def share(self) -> float | None:
        """The share of the mapped class in training where thresholds of maps follow their own: of
        two classes by radar, on which it was measured, and where `adapt` tells far ground from
        near or is told not to. None elsewhere: on far ground shares are estimated badly."""
        trained = self.trained
        follows = trained.classes.by_threshold and sensor_of_model(trained.model) is DEFAULT
        told = self.adapt.is_on or not Adapt.parse(self.recipe.adapt).is_on
        known = told and bool(norm_layers(trained.model))
        return trained.share if follows and known else None

    @property
    def model_threshold(self) -> float:
        """The model's own threshold, moved with its probabilities where there is a temperature."""
        return moved_threshold(self.trained.threshold, self.temperature)

    @property
    def threshold(self) -> float:
        """The threshold that was given, else the model's own."""
        given = parse_threshold(self.recipe.threshold)
        return self.model_threshold if given is None else given


@lru_cache(maxsize=1)
def load(recipe: Recipe) -> Loaded:
    """Load the model and make its stream, once in a process.

    Raises InputError, RunError or ConfigError for a model that cannot be had, takes other bands
    than its sensor gives, or settings that make no sense.
    """
    trained = load_trained(recipe.model)
    if trained.description is not None:
        log.info(
            "model: %s (weights sha256 %s…), trained on %s",
            *(trained.run_id, trained.description.weights[:12], trained.description.trained_on),
        )
    return ready(recipe, trained)


def load_for_jobs(recipe: Recipe) -> Loaded:
    """The model where the jobs of the next step run: `load` on this machine.

    For workers of a cluster, which may have another device, it is checked on the CPU of this
    machine; they do without `backend=auto`, which a race on this machine would decide.
    """
    if not executors.is_remote():
        return load(recipe)
    if recipe.device != "auto" and not recipe.device.startswith("cuda"):
        loaded = load(recipe)
        return replace(loaded, recipe=replace(recipe, backend=loaded.stream.backend))
    if recipe.backend.startswith("openvino") and recipe.device != "auto":
        raise ConfigError(f"backend={recipe.backend}: runs on the CPU; set device=cpu")
    recipe = replace(recipe, backend="torch" if recipe.backend == "auto" else recipe.backend)
    return replace(load(replace(recipe, device="cpu")), recipe=recipe, device=recipe.device)


def ready(recipe: Recipe, trained: Trained) -> Loaded:
    """Check a trained model and make its stream; raises as `load`."""
    parse_threshold(recipe.threshold)
    _check_adapt(recipe)
    _check_network(recipe.model, trained)
    temperature = _temperature(recipe.temperature, trained)
    scaled = (recipe.fold, recipe.alpha, recipe.exponent, recipe.scales)
    cascade = Cascade.of(*scaled, trained.classes, trained.folder)
    weights = weights_digest(trained.model.state_dict())
    _check_fitted(cascade, weights)
    own = trained.settings.get("amp") is not False
    made = partial(
        make_stream,
        trained.model,
        classes=trained.classes,
        window=recipe.window,
        overlap=recipe.least_overlap,
        batch_size=recipe.batch_size,
        tta=recipe.tta,
        device=recipe.device,
        amp=own if recipe.amp is None else recipe.amp,
        blend=recipe.blend,
        temperatures=(temperature or 1.0,),
        backend=recipe.backend,
        quantised=_quantised(recipe, trained, temperature),
        decoders=recipe.decoders,
    )
    stream = within_memory(f"model={recipe.model}", made)
    loaded = Loaded(recipe, stream, trained, weights, temperature, str(stream.device), cascade)
    _say_unadapted(loaded)
    return loaded


def _say_unadapted(loaded: Loaded) -> None:
    """Say why a network stays as it is that shall be adapted, a warning where that was asked."""
    how = Adapt.parse(loaded.recipe.adapt)
    if not how.is_on or loaded.adapt.is_on:
        return
    if not norm_layers(loaded.trained.model):
        why = "the network has no layer of batch normalisation, and"
    elif loaded.recipe.backend == "openvino-int8":
        why = "the normalisation of an 8-bit network is fixed: it"
    elif sensor_of_model(loaded.trained.model) is not DEFAULT:
        why = "a network of images"
    else:
        why = "the network, as its file says,"
    level = logging.INFO if how.mode == "auto" else logging.WARNING
    log.log(level, "adapt=%s: %s stays as it is", loaded.recipe.adapt, why)


def _check_fitted(cascade: Cascade | None, weights: str) -> None:
    """Say where the weights of scales were fitted to another network."""
    fitted = None if cascade is None else cascade.fitted
    if fitted is not None and fitted.network not in {"", weights}:
        log.warning("fold=logits: its weights were fitted to another network; %s", fitted.REMEDY)


def _quantised(recipe: Recipe, trained: Trained, temperature: float | None) -> Path | None:
    """The folder of the 8-bit network, where that is what shall run."""
    if recipe.backend != "openvino-int8":
        return None
    from builtup.prediction.backends.int8 import Quantisation, quantised_network

    data = Path(recipe.calibration_path) if recipe.calibration_path else None
    if data is None and trained.description is not None:
        raise ConfigError(
            f"backend={recipe.backend}: {trained.run_id} brings no tiles to make 8 bits from; use "
            "backend=openvino, or calibration_path in an inference config"
        )
    return quantised_network(
        Quantisation.of(
            trained,
            data_path=data,
            threshold=moved_threshold(trained.threshold, temperature),
            window=recipe.window,
            overlap=recipe.least_overlap,
            temperature=temperature or 1.0,
        )
    )


def _check_adapt(recipe: Recipe) -> None:
    """ConfigError for a way of adapting that makes no sense, or that the backend cannot take."""
    how = Adapt.parse(recipe.adapt)
    if recipe.backend == "openvino-int8" and how.mode in {"scene", "city"}:
        raise ConfigError(
            f"adapt={recipe.adapt}: the normalisation of an 8-bit network is fixed; use "
            "backend=openvino, or adapt=none"
        )


@torch.inference_mode()
def _check_network(name: str, trained: Trained) -> None:
    """BuiltupError where a network does not take its sensor's bands, or give its classes."""
    inputs, classes = inputs_of(trained.model), trained.classes
    power = torch.full((1, len(inputs), _SIDE, _SIDE), 0.1)
    try:
        shape = tuple(class_logits(trained.model(power)).shape)
    except (RuntimeError, ValueError, IndexError, TypeError) as e:
        wanted = " and ".join(inputs)
        raise BuiltupError(
            f"model={name}: takes {_bands(trained.model)}, not {wanted} ({one_line(e, 120)}); "
            f"choose a model that was trained on {wanted}"
        ) from e
    if len(shape) != 4 or shape[0] != 1 or shape[2:] != power.shape[2:] or shape[1] < 2:
        raise BuiltupError(
            f"model={name}: gives {shape} for an image of {tuple(power.shape)}, not logits of each "
            "class and pixel; choose a model for segmentation"
        )
    if shape[1] != len(classes):
        raise BuiltupError(
            f"model={name}: gives {shape[1]} classes, and its run names {len(classes)} "
            f"({', '.join(classes.names)}); train it with class_names for every class"
        )


def _bands(model: nn.Module) -> str:
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return "other bands" if first is None else f"{first.in_channels} bands"


def _temperature(given: str, trained: Trained) -> float | None:
    """What logits are divided by: a number, that of the training run, or nothing."""
    if not given:
        return None
    if given == "run":
        if trained.temperature is None:
            raise ConfigError(
                f"temperature=run: the training run {trained.run_id} has none; take one with "
                "validation, a fold of cross_validate, or give a number"
            )
        return trained.temperature
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 < value < math.inf:
        raise ConfigError(f"temperature={given}: expected run or a number above 0")
    return value
