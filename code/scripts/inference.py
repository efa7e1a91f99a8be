"""Map what a network knows: `mlflow run … -P script_path=code/scripts/inference.py -P …`.

Predicts the tiles of a test set (`test_` configs), or those of the scenes that the training run
held out, scored against their ground truth (`validate_` configs). Weights, model, transform and
threshold come from the training run `run_id`.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import ignite.distributed as idist

from builtup.config.load import Config
from builtup.prediction.infer import (
    Plan,
    log_plan,
    log_tally,
    make_work,
    output_folder,
    plan,
    predict_share,
    run_name,
    upload,
)
from builtup.runs.going_on import INFERENCE, naming_the_way_on
from builtup.runs.recorder import Recorder, recording
from builtup.runs.records import InferenceRecord

log = logging.getLogger("builtup")


def run(config: Config) -> None:
    """Predict what the config names, in this process of perhaps several."""
    config.require("run_id", "data_path", "has_targets")
    config.require_read("inference")
    prepared = plan(config)
    name = run_name(config, prepared)
    with recording("Inferences", name, active=idist.get_rank() == 0) as recorder:
        record = output_folder(recorder) / InferenceRecord.NAME
        with naming_the_way_on(config, recorder.run_id, record, INFERENCE):
            infer(config, prepared, recorder)


def infer(config: Config, prepared: Plan, recorder: Recorder) -> None:
    """Predict this process's share of the tiles or scenes; rank 0 reports on all."""
    run_id = str(idist.broadcast(recorder.run_id, src=0))
    folder = Path(str(idist.broadcast(str(output_folder(recorder)), src=0)))
    if idist.get_rank() == 0:
        log_plan(config, prepared, recorder, folder)
    work = make_work(config, prepared, folder, run_id)
    started = time.monotonic()
    tally = predict_share(config, prepared, work)
    log_tally(work, tally, time.monotonic() - started, recorder)
    if idist.get_rank() == 0:
        upload(recorder, folder)
        log.info("predictions: %s", folder / "raw")
