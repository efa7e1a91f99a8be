"""The demo from the air: orthomosaics of simulated towns, of which training never sees two.

simulate → import_scenes → tiles → train on colours and heights → predict at several scales →
polygons → scores against clean truth → report. Writes under its output folder and into the
project's MLflow database only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builtup.demo.steps import Clock, overrides_of, run_logged, use_own_database
from builtup.errors import BuiltupError
from builtup.maps.validate import validate
from builtup.maps.validate_layer import SCENE_SCORES
from builtup.options import PolygonOptions
from builtup.prediction.predict import PredictOptions, predict
from builtup.prediction.recipe import Recipe
from builtup.report.write import Extras, report
from builtup.sensors.optical.import_scenes import import_scenes
from builtup.simulate.aerial.dataset import with_clean_labels
from builtup.simulate.dataset import simulate
from builtup.tiles.cut import generate_tiles
from builtup.tiles.stats import generate_tiles_stats

__all__ = ["demo_aerial"]

#: Towns to learn from and to map, pixels of .25 m along a side, and of a window.
CITIES, TEST_CITIES, SIZE, WINDOW = 6, 2, 768, 256
CONFIG = "configs/train/aerial/small_cpu.py"
#: What the demo must reach on the unseen towns with its own settings.
LEAST_IOU = 0.40


@dataclass(frozen=True)
class Outcome:
    """What it leaves: scores by `validate` (`scene_scores.json`), and the paths."""

    scores: Mapping[str, float]
    report: Path
    results: Path
    training: str

    def lines(self) -> list[str]:
        """What to print at the end."""
        of = self.scores
        return [
            "",
            f"unseen towns: building IoU {of['mapped_iou']:.3f}, F1 {of['mapped_f1']:.3f}; "
            f"mIoU of six classes {of['miou']:.3f}",
            f"report:   {self.report}",
            f"model:    training run {self.training}; map orthomosaics with it:",
            f"          builtup predict --model {self.training} --input_path <images> "
            "--fold soft --window 256",
            f"polygons: {self.results / 'raw'}",
        ]

    def check(self) -> None:
        """Raise BuiltupError where the network is not worth its training."""
        if not self.scores["mapped_iou"] >= LEAST_IOU:
            raise BuiltupError(
                f"demo: building IoU {self.scores['mapped_iou']:.3f} is below {LEAST_IOU}; "
                "give it more training (--max_minutes) or report it"
            )


def demo_aerial(output_path: Path, seed: int = 0, max_minutes: float = 3.0) -> Outcome:
    """Run the chain on simulated orthomosaics under `output_path`/aerial."""
    output_path = output_path / "aerial"
    os.environ.pop("MLFLOW_RUN_ID", None)  # training and inference are runs of their own
    use_own_database()
    clock, tiles, maps = Clock(), output_path / "tiles", output_path / "maps"
    raw, train, test = (output_path / name for name in ("raw", "train", "test"))
    with clock.step("simulate"):
        simulate(
            output_path=raw, sensor="aerial", cities=CITIES, test_cities=TEST_CITIES,
            dates=1, size=SIZE, seed=seed,
        )  # fmt: skip
        clean = with_clean_labels(raw, output_path / "clean")
    with clock.step("import"):
        import_scenes(input_path=raw, output_path=train, split="train;valid")
        import_scenes(input_path=clean, output_path=test, split="test", allow=str(raw))
    with clock.step("tiles"):
        for layer in ("images", "masks", "height"):
            generate_tiles(
                input_path=train / layer, output_path=tiles / layer,
                tile_size=256, overlap=0, materialize=False,
            )  # fmt: skip
        generate_tiles_stats(input_path=tiles, output_path=tiles)
    with clock.step("train"):
        settings = {"seed": seed, "max_minutes": max_minutes, "data_path": tiles}
        own = {"val_fold": None, "channel_set": "rgb_height", "height_dropout": 0.5}
        own["pixel_size"] = "1.0,4.0"  # the scales that it is mapped at
        training = run_logged("training", CONFIG, overrides_of(**settings, **own))
    with clock.step("predict at several scales"):
        recipe = Recipe(
            training, window=WINDOW, stride=2, blend="gaussian", fold="soft", adapt="none"
        )
        polygons = PolygonOptions(square=True)
        predict(recipe, PredictOptions(str(test / "images"), str(maps), polygons=polygons))
    with clock.step("validate"):
        validate(preds_path=str(maps), gt_path=test, gt_layer="masks", per_scene=True)
    with clock.step("report"):
        page = report(input_path=str(maps), extras=Extras(_summary(), clock.seconds))
    scores = json.loads((maps / SCENE_SCORES).read_text(encoding="utf-8"))["full"]["together"]
    return Outcome(scores, page, maps, training)


def _summary() -> str:
    side = SIZE * 0.25
    return (
        f"{CITIES} simulated towns to learn from and {TEST_CITIES} unseen, orthomosaics of "
        f"{side:g} × {side:g} m with a surface model. The network sees colours and heights above "
        "local ground, and of half of its samples no heights. The maps show the unseen towns."
    )
