"""How much each scale says of each class: weights for `fold=logits`, from levels and masks.

A cascade is an ensemble of one network's zooms: z_c = Σ w_dc · log p_dc over its scales d, and the
softmax of z; with the weights of the finest scale 1 and all others 0 it is the plain prediction.
Weights, none of them negative, are fitted on scenes whose masks are known. Least cross-entropy, a
convex problem, is where the fit begins; it serves the classes that most pixels have. From there the
mean Jaccard index of the classes is raised, each counted by what p covers (Rahman and Wang 2016),
since maps are judged by it; and as a factor common to all weights changes no pixel's class where
the largest decides (of two classes at a threshold of a half), it is that of least cross-entropy:
probabilities stay honest. Nothing is predicted again: levels are what `predict` left.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from builtup.errors import BuiltupError, InputError
from builtup.geo.grid import SAME_CITY_TOLERANCE, Grid
from builtup.geo.probability import IGNORE
from builtup.geo.rasters import gdal_env, open_raster, read_window
from builtup.geo.windows import aligned
from builtup.jobs.steps import MANIFESTS
from builtup.prediction.cascade import LEVELS
from builtup.prediction.fold import LEAST, by_class
from builtup.prediction.folded_raster import BLOCK, Parts
from builtup.prediction.zoom import Zoom
from builtup.runs import tracking
from builtup.runs.records import InferenceRecord
from builtup.runs.results import PredictionTags, Results, read_tags, resolve_results, scene_rasters
from builtup.runs.scale_weights import ScaleWeights
from builtup.scoring.counts import confusion, iou, one_against_rest
from builtup.sensors.scene_files import find_rasters, require_folder

__all__ = ["cascade_fit", "fit_weights"]

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
#: Labelled pixels that weights are fitted on, at most: evenly taken from all scenes.
PIXELS = 200_000
#: Pull of the weights to those of plain prediction: it decides where pixels do not.
PULL = 1e-4
#: Pixels count that are known in every scale, but for rounding.
WHOLE = 0.999


@dataclass(frozen=True)
class _Scene:
    """A predicted scene with its mask and its levels, by scale."""

    tags: PredictionTags
    mask: Path
    grid: Grid
    levels: dict[float, Path]


def cascade_fit(*, input_path: str = "", run_id: str = "", gt_path: Path) -> str:
    """Fit the weights of scales and classes; write scale_weights.json beside the predictions.

    The run of the network that made them gets it as well: it is then what `fold=logits` of that
    model means, wherever it predicts. The predictions are those of `input_path`, else of `run_id`,
    else of the newest finished run; `gt_path` is a folder of masks of their scenes. Returns a table
    to print. Raises InputError where there are no levels of several scales, or no masks of their
    scenes.
    """
    results = resolve_results(input_path, run_id)
    scenes = _scenes(results, gt_path)
    scales = sorted(set.intersection(*(set(scene.levels) for scene in scenes)))
    if len(scales) < 2:
        raise InputError(
            results.folder / LEVELS,
            "no levels of several scales that all scenes with masks have",
            "predict them with fold=soft and the same scales, 1/4;1/2;1",
        )
    classes = scenes[0].tags.class_set
    logs, truth = _pixels(scenes, scales, len(classes))
    fit = fit_weights(logs, truth, classes.scored)
    record = InferenceRecord.find(results.folder)
    found = ScaleWeights(
        scales=tuple(scales),
        classes=classes.names,
        weights=tuple(tuple(round(float(w), 4) for w in row) for row in fit.weights),
        network="" if record is None else record.weights,
        tuned_on=tuple(sorted({scene.tags.city for scene in scenes})),
        pixels=len(truth),
        miou=round(fit.miou, 6),
        plain_miou=round(fit.plain, 6),
    )
    found.write(results.folder)
    kept = record is not None and _keep(results.folder, found, record.training_run)
    return _table(found, "logits" if kept else f"logits:{results.folder}")


def _keep(fitted_in: Path, found: ScaleWeights, run_id: str) -> bool:
    """Put the weights among the artifacts of a training run; False where the store has no such."""
    try:
        run = tracking.find_run(run_id)
    except BuiltupError:
        return False
    if (folder := tracking.artifact_folder(run)) is not None:
        found.write(folder)
    else:
        tracking.client().log_artifact(run_id, str(fitted_in / ScaleWeights.NAME))
    return True


def _table(found: ScaleWeights, fold: str) -> str:
    head = ["scale", *found.classes]
    rows = [
        [f"{scale:g}", *(f"{w:.3f}" for w in row)]
        for scale, row in zip(found.scales, found.weights, strict=True)
    ]
    lines = ["  ".join(cells) for cells in (head, *rows)]
    said = (
        f"mIoU {found.miou:.4f}, of the finest scale alone {found.plain_miou:.4f}, on "
        f"{found.pixels} pixels of {', '.join(found.tuned_on)}; use fold={fold}"
    )
    if len(found.classes) == 2:
        said += " and threshold=0.5, at which they were fitted"
    return "\n".join([*lines, said])


# --- pixels -------------------------------------------------------------------------------------


def _scenes(results: Results, gt_path: Path) -> list[_Scene]:
    masks = {mask.scene_id: mask.path for mask in find_rasters(require_folder(gt_path), "mask")}
    found, without = [], []
    # of images raw/ holds classes alone: their finest level lies on the scene's grid
    paths = scene_rasters(results) or sorted((results.folder / LEVELS).glob("1/*.tif"))
    for path in paths:
        tags = read_tags(path)
        mask = masks.get(tags.scene)
        if mask is None:
            without.append(tags.scene)
            continue
        with gdal_env(), open_raster(mask) as dataset:
            grid = Grid.of(dataset)
        with gdal_env(), open_raster(path) as dataset:
            difference = Grid.of(dataset).difference(grid, SAME_CITY_TOLERANCE)
        if difference:
            raise InputError(mask, f"not on the grid of {path} ({difference})", "mask that scene")
        found.append(_Scene(tags, mask, grid, _levels(results.folder, path.name)))
    if not found:
        raise InputError(
            gt_path, f"no masks of the predicted scenes ({', '.join(without[:3])})", "give theirs"
        )
    if without:
        log.warning("no masks of %d scenes: %s", len(without), ", ".join(without[:3]))
    return found


def _levels(folder: Path, name: str) -> dict[float, Path]:
    """The levels of a scene's raster by their scales, as their manifests say."""
    levels = {}
    for path in sorted((folder / LEVELS).glob(f"*/{name}")):
        manifest = path.parent / MANIFESTS / f"{name}.json"
        try:
            scale = float(json.loads(manifest.read_text("utf-8"))["settings"]["scale"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            problem = f"no manifest says of what scale it is ({e})"
            raise InputError(path, problem, "remove it, and predict again") from e
        levels[scale] = path
    return levels


def _pixels(
    scenes: Sequence[_Scene], scales: Sequence[float], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logs of probabilities (n, scales, classes) and classes (n,) of pixels, evenly taken."""
    step = -(-sum(scene.grid.pixels for scene in scenes) // PIXELS)
    logs, truths = [], []
    for scene in scenes:
        for log_p, truth in _of_scene(scene, scales, step):
            if truth.max(initial=0) >= classes:
                raise InputError(
                    scene.mask, f"class {truth.max()}, of {classes} classes", "mask with those"
                )
            logs.append(log_p)
            truths.append(truth)
    if not truths:
        raise InputError(scenes[0].mask.parent, "no labelled pixel is predicted", "give others")
    return np.concatenate(logs), np.concatenate(truths).astype(np.int64)


def _of_scene(
    scene: _Scene, scales: Sequence[float], step: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    mapped = scene.tags.class_set.mapped_index
    zooms = [Zoom(scene.grid, scale) for scale in scales]
    with gdal_env(), ExitStack() as stack:
        mask = stack.enter_context(open_raster(scene.mask))
        rasters = [stack.enter_context(open_raster(scene.levels[scale])) for scale in scales]
        for window in aligned(scene.grid.width, scene.grid.height, BLOCK):
            truth: NDArray[np.uint8] = read_window(mask, window, 1)
            counted = torch.from_numpy(truth != IGNORE)
            places = np.arange(truth.size).reshape(truth.shape)
            counted &= torch.from_numpy((places % step) == 0)
            held: list[Tensor] = []  # logs of each level, and the share that is known of it
            parts = Parts.read(rasters, zooms, window)
            for level, enlarge in zip(parts.levels(), parts.enlarged, strict=True):
                log_p = by_class(level.p, mapped).clamp(min=LEAST).log()
                known = torch.ones(log_p.shape[1:]) if level.known is None else level.known.float()
                held.append(torch.cat((log_p * known, known[None])))
                if enlarge is not None:  # as they are folded: through the scales between
                    held = [enlarge(values) for values in held]
            for values in held:
                counted &= values[-1] > WHOLE
            if bool(counted.any()):
                stacked = torch.stack([values[:-1, counted] for values in held]).permute(2, 0, 1)
                yield stacked.contiguous().numpy(), truth[counted.numpy()]


# --- weights ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """Weights (scales, classes), the mIoU of what they map, and of what the finest scale alone
    maps."""

    weights: Float
    miou: float
    plain: float


#: A loss of probabilities (n, classes), and its slope by the scores that they are the softmax of.
Loss = Callable[[Float], tuple[float, Float]]


def fit_weights(logs: NDArray[np.float32], truth: NDArray[np.int64], scored: Sequence[int]) -> Fit:
    """The weights of the best Jaccard index, times the factor of least cross-entropy.

    `logs` (n, scales, classes) are logarithms of probabilities, `truth` (n,) classes; of the index
    and the mIoU count the `scored` classes that occur. Raises BuiltupError where none occurs, or no
    finite weights are found.
    """
    from scipy.optimize import minimize_scalar

    here = [index for index in scored if (truth == index).any()]
    if not here:
        raise BuiltupError("cascade_fit: no pixel of a class that is scored; give other masks")
    plain = np.zeros(logs.shape[1:])
    plain[-1] = 1
    of_class = np.eye(logs.shape[2])[truth]  # (n, classes)
    likely = _least(logs, partial(_cross_entropy, of_class), plain, plain)
    best = _least(logs, partial(_uncovered, of_class, here), likely, plain)
    score = _score(logs, best)

    def unlikely(log_factor: float) -> float:
        factor = np.exp(log_factor)
        away = float(((factor * best - plain) ** 2).sum())
        return _cross_entropy(of_class, _softmax(factor * score))[0] + PULL * away

    factor = float(np.exp(minimize_scalar(unlikely, bounds=(-3, 3), method="bounded").x))
    return Fit(factor * best, _miou(score, truth, here), _miou(_score(logs, plain), truth, here))


def _least(logs: NDArray[np.float32], loss: Loss, start: Float, plain: Float) -> Float:
    """The weights of least loss, none negative, from `start` downhill."""
    from scipy.optimize import minimize

    def cost(flat: Float) -> tuple[float, Float]:
        weights = flat.reshape(plain.shape)
        value, slope = loss(_softmax(_score(logs, weights)))
        away = weights - plain
        by_weight = np.einsum("nc,ndc->dc", slope, logs) + 2 * PULL * away
        return value + PULL * float((away**2).sum()), by_weight.ravel()

    bounds = [(0, None)] * plain.size
    options = {"maxiter": 500}
    found = minimize(
        cost, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    if not np.isfinite(found.fun):
        raise BuiltupError("cascade_fit: no weights were found; predict and label other scenes")
    weights: Float = found.x.reshape(plain.shape)
    return weights


def _score(logs: NDArray[np.float32], weights: Float) -> Float:
    score: Float = np.einsum("ndc,dc->nc", logs, weights)
    return score


def _softmax(score: Float) -> Float:
    p: Float = np.exp(score - score.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p


def _cross_entropy(of_class: Float, p: Float) -> tuple[float, Float]:
    likelihood = np.maximum((p * of_class).sum(axis=1), np.finfo(float).tiny)
    return -float(np.log(likelihood).mean()), (p - of_class) / len(p)


def _uncovered(of_class: Float, here: Sequence[int], p: Float) -> tuple[float, Float]:
    """1 − the mean over the classes `here`, which occur, of Σ p·y / (Σ p + Σ y − Σ p·y)."""
    both = (p * of_class).sum(axis=0)
    either = p.sum(axis=0) + of_class.sum(axis=0) - both
    by_p = np.zeros_like(p)
    by_p[:, here] = ((both - of_class * (either + both)) / either**2)[:, here] / len(here)
    slope = p * (by_p - (by_p * p).sum(axis=1, keepdims=True))
    return 1 - float((both / either)[here].mean()), slope


def _miou(score: Float, truth: NDArray[np.int64], here: Sequence[int]) -> float:
    """The mean IoU of the classes `here`, each pixel being of the class of the largest score."""
    matrix = confusion(truth, score.argmax(axis=1), score.shape[1])
    return float(iou(one_against_rest(matrix))[here].mean())
