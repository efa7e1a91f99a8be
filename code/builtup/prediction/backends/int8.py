"""The 8-bit version of a trained network, by NNCF: calibrated on its training ground, judged on
what it held out, and refused where it maps buildings worse than the network itself.

Nothing imports this module unless `backend=openvino-int8` is asked for.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from builtup.data.pixels import PixelSizes
from builtup.errors import BuiltupError, ConfigError, InputError
from builtup.jobs.digests import sha256_of
from builtup.models.channels import inputs_of, required_of, sensor_of_model
from builtup.prediction.backends.openvino import (
    cache_folder,
    network_digest,
    one_core,
    openvino_model,
    read_network,
    require_openvino,
    save_network,
)
from builtup.prediction.backends.probabilities import Probabilities
from builtup.prediction.beyond import BEYOND, mirrored
from builtup.prediction.network import make_stream, resampled
from builtup.prediction.tiles import (
    Selection,
    TileWork,
    predict_tiles,
    select_held_out,
)
from builtup.scoring.counts import scores
from builtup.sensors.radar.bands import NODATA_POWER
from builtup.tiles.folds import FOLDS_JSON, Folds
from builtup.tiles.inputs import TileInputs
from builtup.tiles.table import TILE_STATS_CSV, TrainTile, read_tile_stats
from builtup.tiles.tile import Tile
from builtup.training.checkpoints import Trained

__all__ = [
    "LARGEST_LOSS",
    "Quantisation",
    "kept_exact",
    "quantise",
    "quantised_network",
    "require_nncf",
]

log = logging.getLogger(__name__)

#: Building F1 that 8 bits may cost.
LARGEST_LOSS = 0.005
#: Windows that an 8-bit network is calibrated on.
SAMPLES = 64
VERDICT = "verdict"
#: Layers with weights: what lies before the first and after the last of them stays in float32.
_LAYERS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"}
_LAYERS |= {"GroupConvolutionBackpropData"}

Nodes = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Quantisation:
    """What an 8-bit network is made from, and what it is judged on.

    `data_path` is a folder of training tiles with its statistics and folds, `val_fold` what the
    training held out of it; F1 is taken at `threshold`, in windows as they are predicted.
    """

    trained: Trained
    data_path: Path
    val_fold: int | str | None
    threshold: float
    window: int = 512
    overlap: int = 64
    temperature: float = 1.0

    @classmethod
    def of(
        cls,
        trained: Trained,
        *,
        data_path: Path | None = None,
        threshold: float | None = None,
        window: int = 512,
        overlap: int = 64,
        temperature: float = 1.0,
    ) -> Quantisation:
        """Of a trained network, on the data of its own run where none are given."""
        return cls(
            trained,
            Path(trained.settings.get("data_path", "")) if data_path is None else data_path,
            trained.held_out,
            trained.threshold if threshold is None else threshold,
            window,
            overlap,
            temperature,
        )

    @property
    def network(self) -> Probabilities:
        """What is converted and quantised."""
        mapped = self.trained.classes.mapped_index
        return Probabilities(self.trained.model, (self.temperature,), mapped).eval()


def quantised_network(made_of: Quantisation) -> Path:
    """The folder of the 8-bit network, from the cache or made and judged now.

    Raises BuiltupError with both figures where F1 is more than LARGEST_LOSS below float32's (the
    verdict is remembered as well), ConfigError or InputError where it cannot be judged.
    """
    require_nncf()
    if made_of.val_fold is None:
        raise ConfigError(
            "backend=openvino-int8: the network held out no fold, so what 8 bits cost cannot be "
            "measured; use backend=openvino"
        )
    stats = made_of.data_path / TILE_STATS_CSV
    if not stats.is_file():
        raise InputError(
            stats,
            "no such file, and an 8-bit network is calibrated and judged on its training tiles",
            "give calibration_path=<the folder of the training tiles>, or use backend=openvino",
        )
    network = made_of.network
    folder = cache_folder() / _digest(network, made_of)
    verdict = _known(folder)
    if verdict is None:
        verdict = _make(network, made_of, folder)
    f1, exact = verdict["f1"], verdict["f1_float32"]
    if not exact - f1 <= LARGEST_LOSS:
        raise BuiltupError(
            f"backend=openvino-int8: building F1 on {verdict['fold']} is {f1:.4f} in 8 bits, "
            f"{exact:.4f} in float32 (may lose {LARGEST_LOSS}); use backend=openvino"
        )
    log.info("openvino-int8: building F1 %.4f on %s, float32 %.4f", f1, verdict["fold"], exact)
    return folder


def _digest(network: Probabilities, made_of: Quantisation) -> str:
    data = [made_of.data_path / name for name in (TILE_STATS_CSV, FOLDS_JSON)]
    reference = made_of.trained.settings.get("reference_pixel")
    return "int8-" + network_digest(
        network,
        made_of.window,
        nncf=version("nncf"),
        samples=SAMPLES,
        data=[sha256_of(path) if path.is_file() else "" for path in data],
        fold=made_of.val_fold,
        threshold=made_of.threshold,
        overlap=made_of.overlap,
        **BEYOND,
        **({} if reference is None else {"reference_pixel": reference}),
    )


def _known(folder: Path) -> dict[str, Any] | None:
    """The verdict on the network in a folder of the cache, where both are whole."""
    try:
        verdict: dict[str, Any] = json.loads((folder / f"{VERDICT}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return None if read_network(folder) is None else verdict


def _make(network: Probabilities, made_of: Quantisation, folder: Path) -> dict[str, Any]:
    """Quantise and judge; keep the network and the verdict."""
    selection = select_held_out(made_of.data_path, made_of.val_fold)
    windows = _calibration(made_of)
    log.info(
        "openvino-int8: calibrating on %d windows of the training ground, kept in %s",
        *(len(windows), folder),
    )
    quantised = quantise(openvino_model(network, made_of.window), windows)
    save_network(quantised, folder)
    if read_network(folder) is None:
        raise BuiltupError(f"{folder}: cannot be written; an 8-bit network must be kept there")
    verdict = {
        "fold": selection.fold_name,
        "f1_float32": _f1(made_of, selection, "openvino", None),
        "f1": _f1(made_of, selection, "openvino-int8", folder),
        "windows": len(windows),
    }
    save_network(quantised, folder, **{VERDICT: json.dumps(verdict, indent=1) + "\n"})
    return verdict


def _calibration(made_of: Quantisation) -> list[NDArray[np.float32]]:
    """Windows of training tiles, spread evenly; half of them with buildings, where there are."""
    folds = Folds.read(made_of.data_path)
    tiles = read_tile_stats(made_of.data_path / TILE_STATS_CSV)
    kept = folds.training_tiles(tiles, folds.index_of(made_of.val_fold or 0))
    built_up = _spread([t for t in kept if t.target_ratio > 0], SAMPLES // 2)
    chosen = {id(t) for t in built_up}
    others = _spread([t for t in kept if id(t) not in chosen], SAMPLES - len(built_up))
    if not kept:
        raise InputError(
            made_of.data_path / TILE_STATS_CSV,
            f"no training tile is left when {made_of.val_fold} is held out",
            "give calibration_path=<other training tiles>, or use backend=openvino",
        )
    inputs, pixels = _inputs(made_of, tiles), _pixels(made_of, [t.tile for t in kept])
    required = required_of(made_of.trained.model)
    seen = (resampled(inputs.read(t.tile), pixels.shape(t), required) for t in [*built_up, *others])
    return [_window(power, made_of.window) for power in seen]


def _spread(tiles: Sequence[TrainTile], most: int) -> list[TrainTile]:
    count = min(most, len(tiles))
    return [tiles[i * len(tiles) // count] for i in range(count)]


def _inputs(made_of: Quantisation, rows: Sequence[TrainTile]) -> TileInputs:
    """What the network reads of these tiles."""
    model = made_of.trained.model
    heights = {t.tile.tile_id: t.height for t in rows if t.height is not None}
    return TileInputs.of(sensor_of_model(model), inputs_of(model), heights)


def _pixels(made_of: Quantisation, tiles: Sequence[Tile]) -> PixelSizes:
    """As how large ones the network sees pixels."""
    return PixelSizes.of_maps(tiles, made_of.trained.settings.get("reference_pixel"))


def _window(power: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """The middle of a tile (inputs, window, window); mirrored where the tile is smaller, as in
    prediction."""
    y, x = (max(0, (side - window) // 2) for side in power.shape[1:])
    part = torch.from_numpy(power[:, y : y + window, x : x + window].copy())
    whole: NDArray[np.float32] = mirrored(part, window).numpy()
    return whole


def _f1(made_of: Quantisation, selection: Selection, backend: str, quantised: Path | None) -> float:
    """F1 of the mapped class over the held-out ground; ConfigError where it holds none."""
    classes = made_of.trained.classes
    stream = make_stream(
        made_of.trained.model,
        classes=classes,
        window=made_of.window,
        overlap=made_of.overlap,
        device="cpu",
        temperatures=(made_of.temperature,),
        backend=backend,
        quantised=quantised,
    )
    inputs = _inputs(made_of, read_tile_stats(made_of.data_path / TILE_STATS_CSV))
    work = TileWork(
        *(selection, stream, made_of.threshold, classes),
        scored=True,
        inputs=inputs,
        pixels=_pixels(made_of, selection.tiles),
    )
    matrix = predict_tiles(work, selection.tiles, quiet=True).matrix.sum(axis=0)
    f1 = scores(matrix, classes)["f1"]
    if not np.isfinite(f1):
        raise ConfigError(
            f"backend=openvino-int8: the held-out ground of {selection.fold_name} has no building "
            "to judge by; use backend=openvino"
        )
    return f1


# --- quantising ----------------------------------------------------------------------------------


def require_nncf() -> Any:
    """The module nncf; ConfigError where it is not installed."""
    require_openvino()  # first: it sees to it that nothing is reported over the network
    try:
        import nncf
    except ImportError as e:
        raise ConfigError(
            "backend=openvino-int8: NNCF is not installed; pip install '.[openvino]' "
            "(or: pip install nncf), or use backend=openvino"
        ) from e
    # not its set_log_level, which silences the handlers of everybody else as well
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def quantise(network: Any, windows: Sequence[NDArray[np.float32]]) -> Any:
    """The 8-bit version of a converted network, calibrated on `windows` (2, window, window).

    Power is NaN where invalid. The channel transform (decibels of a range of five decades) and
    the softmax stay in float32.
    """
    nncf = require_nncf()
    # weights of 7 bits: with 8, sums of 16 bits overflow on CPUs without VNNI, and the network
    # that was judged on one machine would be another on the next
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    with _silent_off_a_terminal(), one_core():
        return nncf.quantize(
            network,
            nncf.Dataset([np.nan_to_num(w, nan=NODATA_POWER)[None] for w in windows]),
            subset_size=len(windows),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=kept_exact(network), validate=False),
            advanced_parameters=advanced,
        )


@contextlib.contextmanager
def _silent_off_a_terminal() -> Iterator[None]:
    """NNCF draws its progress bars on standard output, wherever that goes."""
    if sys.stdout.isatty():
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def kept_exact(network: Any) -> list[str]:
    """Names of the operations before the first layers with weights and after the last ones."""
    operations = list(network.get_ordered_ops())
    fed = _reached(operations, _sources, {"Parameter"})  # not what only constants lead to
    after_layer = _reached(operations, _sources, _LAYERS)
    before_layer = _reached(operations[::-1], _targets, _LAYERS)
    return [
        o.get_friendly_name()
        for o in operations
        if o.get_type_name() not in {*_LAYERS, "Parameter", "Result"}
        and o.get_friendly_name() in fed
        and not (o.get_friendly_name() in after_layer and o.get_friendly_name() in before_layer)
    ]


def _reached(operations: Iterable[Any], neighbours: Nodes, kinds: set[str]) -> set[str]:
    """Operations that have one of `kinds` behind them, in the direction of `neighbours`."""
    names: set[str] = set()
    for operation in operations:
        for other in neighbours(operation):
            if other.get_type_name() in kinds or other.get_friendly_name() in names:
                names.add(operation.get_friendly_name())
    return names


def _sources(operation: Any) -> Iterator[Any]:
    for value in operation.input_values():
        yield value.get_node()


def _targets(operation: Any) -> Iterator[Any]:
    for output in operation.outputs():
        for value in output.get_target_inputs():
            yield value.get_node()
