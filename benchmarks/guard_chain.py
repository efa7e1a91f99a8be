"""What the guard runs: the chain step by step, `predict`, refusals, cross-validations.

Commands are called by the command line, in forks of a process that has imported the libraries, not
the package: a start then takes a tenth of a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guard_forms import runs

__all__ = ["Chain", "Failed", "studies", "whole_chain"]

#: The texts that commands print stand in this folder.
PRINTED = "printed"
#: Waits for commands as lines of JSON, runs each in a fork of itself, and prints its exit status.
FORKS = """
import atexit, gc, importlib, json, logging, os, runpy, sys, threading
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
logging.root.handlers.clear()  # libraries have set up what is the command's to set up
logging.root.setLevel(logging.WARNING)
gc.freeze()
for line in iter(sys.stdin.readline, ""):
    command = json.loads(line)
    child = os.fork()
    if child == 0:
        os.close(0)
        for number, path in ((1, command["out"]), (2, command["log"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["builtup", *command["arguments"]]
        status = 0
        try:
            runpy.run_module("builtup", run_name="__main__", alter_sys=True)
        except SystemExit as e:
            status = e.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 70
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # taking the libraries down takes seconds
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
os._exit(0)
"""
LIBRARIES = (
    "numpy", "rasterio", "rasterio.features", "rasterio.warp", "shapely", "pyproj", "pyogrio.raw",
    "fiona", "pyarrow.parquet", "scipy.ndimage", "scipy.optimize", "matplotlib.pyplot",
    "PIL.Image", "jinja2", "torch", "torchvision.transforms.v2", "ignite.distributed",
    "ignite.engine", "segmentation_models_pytorch", "ttach", "mlflow", "mlflow.pytorch",
    "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)  # fmt: skip
COMMANDS = (
    "setup", "inspect", "simulate", "prepare", "generate_3b_images", "rasterize", "generate_tiles",
    "generate_test_tiles", "generate_tiles_stats", "main", "merge_tiles", "all_agg_by_city",
    "polygonize", "to_submission", "validate", "cross_validate", "compare", "ensemble", "report",
    "trace", "predict", "demo",
)  # fmt: skip


class Failed(RuntimeError):
    """A script that left no run to go on with."""


@dataclass
class Chain:
    """A folder in which commands of the checkout `code` run, with a tracking database there."""

    folder: Path
    code: Path
    count: int = 0
    _forks: subprocess.Popen[str] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Make the folder, and import the libraries in the process that commands are forked from.

        One thread, one seed of hashes, no settings of the user: all that comes out is the same.
        """
        (self.folder / PRINTED).mkdir(parents=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "BUILTUP_"))}
        environment = {
            **kept,
            "PYTHONPATH": str(self.code / "code"),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            "TZ": "UTC",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/output/mlflow.db",
        }
        self._forks = subprocess.Popen(
            [sys.executable, "-c", FORKS, *LIBRARIES],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> None:
        """End the process that commands are forked from."""
        if self._forks is not None:
            self._forks.communicate()

    def run(self, name: str, command: str, *, status: int = 0, **options: object) -> None:
        """Run a command; what it prints and its exit status are kept under its number and `name`.

        Another status than expected is said and listed: what follows may still be compared.
        """
        assert self._forks is not None and self._forks.stdin and self._forks.stdout
        self.count += 1
        printed = self.folder / PRINTED / f"{self.count:03}_{name}"
        out, log = printed.with_suffix(".out"), printed.with_suffix(".log")
        given = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        line = {"arguments": [command, *given], "out": str(out), "log": str(log)}
        started = time.monotonic()
        self._forks.stdin.write(json.dumps(line) + "\n")
        self._forks.stdin.flush()
        answer = int(self._forks.stdout.readline() or -1)
        seconds = time.monotonic() - started
        print(f"{seconds:6.1f} s  {self.folder.name} {printed.name}", file=sys.stderr)
        printed.with_suffix(".txt").write_text(f"exit status {answer}\n")
        if answer != status:
            end = log.read_text() if log.is_file() else ""
            print(*line["arguments"], f"exit status {answer}:\n{end[-3000:]}", file=sys.stderr)

    def step(self, name: str, command: str, **options: object) -> None:
        """A data step, its jobs in its own process."""
        self.run(name, command, num_workers=1, **options)

    def training(self, name: str, config: str, overrides: str) -> str:
        """A training with a config of the checkout; the id of its run."""
        return self._script(name, "training", f"train/{config}", f"num_workers=0 {overrides}")

    def inference(self, name: str, config: str, overrides: str) -> str:
        """An inference with a config of the checkout; the id of its run."""
        return self._script(name, "inference", f"inference/{config}", overrides)

    def _script(self, name: str, script: str, config: str, overrides: str) -> str:
        before = set(self.runs())
        self.run(
            name,
            "main",
            script_path=self.code / "code" / "scripts" / f"{script}.py",
            config_path=self.code / "configs" / config,
            overrides=f"device=cpu {overrides}",
        )
        new = set(self.runs()) - before
        if len(new) != 1:
            raise Failed(f"{self.folder.name} {name}: left {len(new)} runs; see its log")
        return new.pop()

    def runs(self) -> list[str]:
        """The ids of all runs so far."""
        return runs(self.folder / "output" / "mlflow.db")


def results_of(run_id: str) -> str:
    """The folder of an inference's results."""
    return f"output/mlruns/2/{run_id}/artifacts"


# --- the chain ------------------------------------------------------------------------------------


def whole_chain(chain: Chain) -> None:
    """From scenes to maps, scores, pages and their origins, step by step and by `predict`."""
    chain.run("help", "--help")
    for command in COMMANDS:
        chain.run(f"help_{command}", command, help="")
    chain.run("setup", "setup")
    data_steps(chain)
    small = "widths=(8,16,16,32) batch_size=8 samples_per_epoch=96 num_epochs=3"
    first = chain.training(
        "training", "recommended_cpu.py", f"{small} data_path=tiles/train val_interval=1 lr=0.006"
    )
    second = chain.training(
        "training_on_blocks",
        "recommended_cpu.py",
        f"{small} data_path=real_blocks val_fold=10SEG_SanFranciscoWest/r0c0 soup=2 crop=64 "
        "scale=(0.7,1.0) speckle_looks=8 gain_db=1 noise_floor=0.0001 coarse_dropout=(3,0.2) "
        "channel_set=db_5b accumulation_steps=2 log_model=false",
    )
    maps(chain, first, second)
    predictions(chain, first, second)
    refusals(chain, first)


def data_steps(chain: Chain) -> None:
    """Scenes, masks, tiles, statistics, folds."""
    sizes = {"cities": 2, "test_cities": 1, "dates": 2, "size": 256}
    chain.step("simulate", "simulate", output_path="data", **sizes)
    few = {"cities": 1, "test_cities": 0, "dates": 1, "size": 128, "seed": 3}
    drawn = {"labels": "footprints", "footprints": "footprints/rodez/BATI_INDIFFERENCIE.shp"}
    chain.step("simulate_footprints", "simulate", output_path="rodez", **few, **drawn)
    for folder in ("data", "data/train", "rodez", "real"):
        chain.run("inspect", "inspect", input_path=folder)

    def convert(name: str, command: str, source: str, target: str, **options: object) -> None:
        chain.step(name, command, input_path=source, output_path=target, **options)

    for split in ("train", "test"):
        convert("bands", "generate_3b_images", f"data/{split}", f"scenes/{split}")
    convert("masks", "rasterize", "data/train", "scenes/masks")
    convert(
        "masks_by_centre", "rasterize", "data/train", "scenes/masks_by_centre", all_touched="false"
    )
    files = {"tile_size": 128, "overlap": 32}
    windows = {"tile_size": 100, "overlap": 10, "materialize": "false"}
    for source, target in (("scenes/train", "images"), ("scenes/masks", "masks")):
        convert("tiles", "generate_tiles", source, f"tiles/train/{target}", **files)
        convert("tiles_in_scenes", "generate_tiles", source, f"tiles/windows/{target}", **windows)
    overlapping: dict[str, Any] = {"tile_size": 160, "overlap": 64}
    command, source = "generate_test_tiles", "scenes/test"
    convert("test_tiles", command, source, "tiles/test", **overlapping)
    overlapping["materialize"] = "false"
    convert("test_tiles_in_scenes", command, source, "tiles/test_windows", **overlapping)
    command, source = "generate_tiles_stats", "tiles/windows"
    convert("stats", command, "tiles/train", "tiles/train")
    convert("stats_of_blocks", command, source, source, folds="blocks", blocks="2x3", gap=8)
    convert("stats_again", command, "tiles/train", "tiles/train")
    options = {"output_path": "real_scenes", "tiles_path": "real_tiles", "num_workers": 2}
    chain.run("prepare_real", "prepare", input_path="real", on_error="skip", **options)
    convert("real_blocks", command, "real_tiles/train_tiles", "real_blocks", folds="blocks")


def maps(chain: Chain, first: str, second: str) -> None:
    """Inferences of both trainings, their maps, scores, pages and origins; the mean of two."""
    held_out = chain.inference(
        "inference_validate",
        "validate.py",
        f"run_id={first} data_path=tiles/train window=64 overlap=16 tta=d4 save_overlays=2",
    )
    how = f"run_id={first} data_path=tiles/test window=96 overlap=32 tta=hflip temperature=run"
    test = chain.inference("inference_test", "test.py", f"{how} save_overlays=2")
    other = chain.inference(
        "inference_test_soup",
        "test.py",
        f"run_id={second} weights=soup data_path=tiles/test_windows window=none tta=none "
        "blend=mean threshold=0.45 temperature=1.5",
    )
    chain.inference("inference_resumed", "test.py", f"{how} resume_from={test}")
    for command in ("merge_tiles", "all_agg_by_city", "polygonize", "polygonize"):
        chain.step(command, command, run_id=test)
    rough = {"threshold": 0.4, "min_area": 0, "simplify": 25, "min_hole": 0, "square": "true"}
    chain.step("submission_of_held_out", "to_submission", run_id=held_out, **rough)
    chain.step("submission", "to_submission", run_id=other, min_area=900, simplify=0)
    chain.step("submission_of_newest", "to_submission")
    chain.run("validate_held_out", "validate", run_id=held_out, gt_path="data/train")
    chain.run("validate", "validate", run_id=test, gt_path="data/test")
    chain.run("report_of_newest", "report")
    chain.run("report", "report", run_id=other, gt_path="data/test", images_path="tiles/test")
    members = f"{test};{results_of(other)}"
    chain.step("mean", "ensemble", input_paths=members, output_path="mean", weights="0.2;0.8")
    fit = {"weights": "fit", "gt_path": "data/test"}
    chain.step("fitted", "ensemble", input_paths=members, output_path="fitted", **fit)
    for folder in ("mean", "fitted"):
        chain.step(f"submission_of_{folder}", "to_submission", input_path=folder)
        chain.run(f"validate_{folder}", "validate", preds_path=folder, gt_path="data/test")
    for run_id in (first, second, held_out, test, other, "models:/recommended_cpu@champion"):
        chain.run("trace_run", "trace", run_id=run_id)
    chain.run("trace_newest", "trace")
    chain.run("trace_folder", "trace", input_path="fitted")
    raw = Path(results_of(test)) / "raw"
    (polygons,) = (chain.folder / raw).glob("*.shp")
    for ending in (".gpkg", ".shp", ".tif", "_prob.tif"):
        place = raw / f"{polygons.stem}{ending}"
        chain.run(f"trace{ending.partition('.')[0]}", "trace", input_path=place)


def predictions(chain: Chain, first: str, second: str) -> None:
    """`predict` on simulated and real scenes, an area, a STAC document."""
    windows = {"window": 96, "overlap": 32, "device": "cpu"}

    def predict(name: str, model: str, source: str, target: str, **options: object) -> None:
        places = {"input_path": source, "output_path": target}
        chain.step(name, "predict", model=model, **places, **options)

    predict("predict", first, "data/test", "predicted", **windows)
    more: dict[str, Any] = {"threshold": 0.3, "min_area": 1000}
    predict("predict_other_polygons", first, "data/test", "predicted", **windows, **more)
    chain.run("validate_predicted", "validate", preds_path="predicted", gt_path="data/test")
    chain.run("report_predicted", "report", input_path="predicted")
    chain.run("trace_predicted", "trace", input_path="predicted")
    champion, places = "models:/recommended_cpu@champion", "real/test;real/train"
    more = {"window": 256, "tta": "hflip", "blend": "mean", "temperature": "run", "device": "cpu"}
    predict("predict_real", champion, places, "predicted_real", square="true", **more)
    chain.run("report_real", "report", input_path="predicted_real", gt_path="real/train")
    more = {"area": "-0.77,38.09,-0.75,38.115", "units": "power", "device": "cpu"}
    predict("predict_area", second, "real/test/VegaBaja_2019", "predicted_area", **more)
    document = chain.folder / "data" / "test" / "items.json"
    items = {"type": "FeatureCollection", "features": stac_items(document.parent)}
    document.write_text(json.dumps(items))
    more = {"units": "power", "threshold": 0.6}
    predict("predict_stac", first, "data/test/items.json", "predicted_stac", **windows, **more)


def stac_items(folder: Path) -> list[Mapping[str, object]]:
    """An item for each pair of files below a folder."""
    pairs = [path for path in sorted(folder.rglob("*_vv_*.tif")) if "BorderMask" not in path.name]
    items: list[Mapping[str, object]] = []
    for day, path in enumerate(pairs, 1):
        vv = str(path.relative_to(folder))
        vh = {"href": vv.replace("_vv_", "_vh_"), "sar:polarizations": ["VH"]}
        items.append(
            {
                "type": "Feature",
                "id": path.stem.replace("_vv_", "_"),
                "properties": {"datetime": f"2015-01-{day:02}T05:00:00Z"},
                "assets": {"vv": {"href": vv}, "data": vh},
            }
        )
    return items


def refusals(chain: Chain, run_id: str) -> None:
    """What is refused, in one line each."""
    training = {
        "script_path": chain.code / "code" / "scripts" / "training.py",
        "config_path": chain.code / "configs" / "train" / "recommended_cpu.py",
    }
    scenes = {"model": run_id, "input_path": "real/train"}
    wrong: tuple[tuple[str, Mapping[str, object]], ...] = (
        ("generate_3b_images", {"input_path": "nowhere", "output_path": "refused"}),
        ("rasterize", {"input_path": "real/test", "output_path": "refused"}),
        ("generate_tiles_stats", {"input_path": "scenes", "output_path": "refused"}),
        ("merge_tiles", {"input_path": "scenes"}),
        ("all_agg_by_city", {"run_id": "0" * 32}),
        ("polygonize", {"run_id": run_id}),
        ("validate", {"preds_path": "predicted", "gt_path": "real/test"}),
        ("ensemble", {"input_paths": "predicted;mean"}),
        ("trace", {"input_path": "scenes"}),
        ("main", {**training, "overrides": "wdths=3"}),
        ("main", {**training, "overrides": "data_path=nowhere"}),
        ("predict", {**scenes, "model": "nowhere.pt", "output_path": "refused"}),
        ("predict", {**scenes, "input_path": "scenes/masks", "output_path": "refused"}),
        ("predict", {**scenes, "output_path": "predicted"}),
        ("predict", {**scenes, "threshold": 2, "output_path": "refused"}),
    )
    for command, options in wrong:
        chain.run(f"refused_{command}", command, status=1, **options)


# --- cross-validation -----------------------------------------------------------------------------


def studies(chain: Chain) -> None:
    """Cross-validations, their comparison, and a training that takes its threshold from one."""
    chain.run("setup", "setup")
    sizes = {"cities": 2, "test_cities": 0, "dates": 2, "size": 192, "seed": 7}
    chain.step("simulate", "simulate", output_path="data", **sizes)
    chain.step("prepare", "prepare", input_path="data", output_path="scenes", tiles_path="tiles")
    short = (
        "widths=(4,8,8,8) batch_size=8 samples_per_epoch=32 num_epochs=2 log_predictions=0 "
        "data_path=tiles/train_tiles"
    )
    alone = f"device=cpu num_workers=0 {short}"
    config = chain.code / "configs" / "train" / "recommended_cpu.py"
    for name, overrides in (
        ("first", alone),
        ("second", f"{alone} lr=0.01 ema_decay=none"),
        ("first", alone),
    ):
        places = {"config_path": config, "output": f"folds/{name}"}
        chain.run(f"cross_validate_{name}", "cross_validate", overrides=overrides, **places)
    chain.run("compare", "compare", runs="folds/first;folds/second", output="compared")
    chain.training("training_of_all", "no_val/recommended_cpu.py", short)
