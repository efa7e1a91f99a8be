"""A trained network as an MLflow model: signature, example, transform, classes, threshold.

The model is an exported program in MLflow's own `pytorch` flavour: `mlflow.pyfunc.load_model`,
`mlflow.pytorch.load_model` and `mlflow models predict` read it without this package, and MLflow
refuses such a file where it holds anything but tensors and JSON. A network that torch cannot export
is logged as weights with its config instead, and needs this package.
"""

from __future__ import annotations

import json
import logging
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from builtup.models.channels import inputs_of, sensor_of_model
from builtup.models.segmenter import Segmenter
from builtup.runs.records import Summary
from builtup.sensors.classes import Classes
from builtup.training.checkpoints import load_trained, save_state
from builtup.training.export import (
    MULTIPLE,
    ExportError,
    ProbabilityMap,
    example_bands,
    export,
    save_program,
)

if TYPE_CHECKING:
    from mlflow.models import Model
    from mlflow.models.model import ModelInfo

__all__ = ["Card", "log_model", "save_model"]

log = logging.getLogger(__name__)

NAME = "model"
DATA = "data"
#: Where `mlflow.pytorch` looks for a program within a model's folder.
PROGRAM = f"{DATA}/model.pt2"


@dataclass(frozen=True)
class Card:
    """What a user of the model must know; it stands in the model's metadata."""

    class_names: tuple[str, ...]
    threshold: float
    threshold_tuned_on: tuple[str, ...]
    channels: dict[str, Any]
    training_run: str
    config: str
    fold: str

    def metadata(self, model: nn.Module) -> dict[str, Any]:
        """As JSON values, with what input and output of the model mean."""
        classes = Classes.of(self.class_names)
        mapped = f"{classes.mapped} where the probability of class {classes.mapped_index}"
        return {
            **json.loads(json.dumps(asdict(self))),
            **_input_of(model),
            "sides": f"multiples of {MULTIPLE}",
            "output": "(N, classes, H, W) float32 probabilities, NaN where the input has no data",
            "rule": f"{mapped} is at or above the threshold"
            if classes.by_threshold
            else "the class of the largest probability",
        }


def _input_of(model: nn.Module) -> dict[str, str]:
    """What a network takes, in words; nothing of one that is no Segmenter."""
    if not isinstance(model, Segmenter):
        return {}
    channels = model.channels
    counts, bands = " or ".join(map(str, channels.band_counts)), ", ".join(channels.inputs)
    further = "; further bands are not looked at" if len(channels.band_counts) > 1 else ""
    return {
        "input": f"(N, {counts}, H, W) float32 {channels.sensor.unit}: {bands}{further}",
        "no_data": channels.nodata,
    }


def log_model(
    model: nn.Module, card: Card, config_folder: Path, *, run_id: str, step: int = 0
) -> ModelInfo:
    """Log a trained model to a run as the MLflow model `model`; return MLflow's record of it.

    `config_folder` is the run's logged config, which goes along where the model cannot be exported
    (one line says so). `step` is the iteration of the weights: the run's metrics of that step are
    shown with the model. Raises MlflowException.
    """
    from mlflow.models import Model

    try:
        program = export(model)
    except ExportError as e:
        log.warning("model logged as weights with its config, to be read with builtup: %s", e)
        program = None

    def save(path: str, mlflow_model: Model, **ignored: Any) -> None:
        save_model(Path(path), mlflow_model, model, card, program, config_folder)

    tags = {"config": card.config, "fold": card.fold, "threshold": f"{card.threshold:.4f}"}
    return Model.log(
        artifact_path=None,
        name=NAME,
        flavor=SimpleNamespace(save_model=save),
        flavor_name="pytorch" if program is not None else "builtup",
        run_id=run_id,
        step=step,
        tags={key: value for key, value in tags.items() if value},
        validate_serving_input=False,  # `export` has compared it with the network
    )


def save_model(
    path: Path,
    mlflow_model: Model,
    model: nn.Module,
    card: Card,
    program: torch.export.ExportedProgram | None,
    config_folder: Path,
) -> None:
    """Write a folder that is an MLflow model; `program` is None where it holds weights instead."""
    import mlflow
    from mlflow import pyfunc
    from mlflow.models.signature import ModelSignature
    from mlflow.models.utils import _save_example
    from mlflow.types import Schema, TensorSpec

    path.mkdir(parents=True, exist_ok=True)
    (path / DATA).mkdir()
    kind = np.dtype(np.float32)
    mlflow_model.signature = ModelSignature(
        inputs=Schema([TensorSpec(kind, (-1, -1, -1, -1))]),
        outputs=Schema([TensorSpec(kind, (-1, len(card.class_names), -1, -1))]),
    )
    mlflow_model.metadata = card.metadata(model)
    sensor = sensor_of_model(model)
    example = example_bands(bands=len(inputs_of(model)), sensor=sensor)
    _save_example(mlflow_model, example.numpy(), str(path))
    if program is not None:
        save_program(program, path / PROGRAM)
        mlflow_model.add_flavor("pytorch", model_data=DATA, pytorch_version=str(torch.__version__))
        loader = "mlflow.pytorch"
    else:
        _save_weights(path / DATA, model, card, config_folder)
        loader = __name__
    pyfunc.add_to_model(
        mlflow_model,
        loader_module=loader,
        data=DATA,
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config={"device": "cpu"},  # a program's graph names its device
    )
    mlflow_model.model_size_bytes = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    mlflow_model.save(str(path / "MLmodel"))
    _write_environment(path, {"mlflow": mlflow.__version__, "torch": torch.__version__})


def _save_weights(folder: Path, model: nn.Module, card: Card, config_folder: Path) -> None:
    """The parts of a run's artifacts that `load_trained` reads."""
    save_state(model.state_dict(), folder / "weights" / "best.pt")
    shutil.copytree(config_folder, folder / "config")
    Summary(threshold=card.threshold).write(folder)


def _write_environment(path: Path, versions: dict[str, str]) -> None:
    """requirements.txt, conda.yaml, python_env.yaml (JSON is YAML); builds are not on the index."""
    versions = {**versions, "numpy": np.__version__}
    lines = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]
    python = platform.python_version()
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": lines}],
    }
    environment = {
        "python": python,
        "build_dependencies": ["pip"],
        "dependencies": ["-r requirements.txt"],
    }
    (path / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (path / "conda.yaml").write_text(json.dumps(conda, indent=1) + "\n", encoding="utf-8")
    (path / "python_env.yaml").write_text(
        json.dumps(environment, indent=1) + "\n", encoding="utf-8"
    )


class _Weights:
    """What `mlflow.pyfunc` gets of a model that holds weights: the same input and output."""

    def __init__(self, model: Segmenter) -> None:
        self.whole = ProbabilityMap(model).eval()

    def predict(self, data: NDArray[np.float32], params: Any = None) -> NDArray[np.float32]:
        """Probabilities of a batch of bands."""
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = self.whole(torch.from_numpy(data)).numpy()
        return probabilities


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> _Weights:
    """MLflow calls this where no program could be exported."""
    model = load_trained(Path(path)).model
    if not isinstance(model, Segmenter):
        raise TypeError(f"{path}: a {type(model).__name__} is no Segmenter")
    return _Weights(model)
