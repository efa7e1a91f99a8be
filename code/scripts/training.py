"""Train a network: `mlflow run … -P script_path=code/scripts/training.py -P config_path=…`."""

from __future__ import annotations

from dataclasses import replace

import ignite.distributed as idist
from ignite.engine import Events

from builtup.config.load import Config
from builtup.runs.going_on import naming_the_way_on
from builtup.runs.recorder import Recorder, recording
from builtup.training.after_training import check_registration, finish
from builtup.training.before_training import log_run, summary_of
from builtup.training.build import (
    build_data,
    build_learner,
    check_settings,
    seed_everything,
)
from builtup.training.checkpoints import made_with
from builtup.training.evaluator import create_evaluator
from builtup.training.handlers import (
    Saver,
    Validation,
    attach_curves,
    attach_early_stopping,
    attach_epochs,
    attach_saver,
    attach_time_limit,
    attach_validation,
    progress_bar,
)
from builtup.training.learnt_ground import LearntGround
from builtup.training.resume import Earlier, find_earlier, resume, start_at
from builtup.training.tile_pictures import PictureMaker
from builtup.training.trainer import create_trainer
from builtup.training.weight_average import Soup, attach_soup


def run(config: Config) -> None:
    """Train what the config describes, in this process of perhaps several."""
    config.require(
        *("seed", "num_classes", "num_epochs"),
        *("model", "train_loader", "criterion", "optimizer"),
    )
    earlier = find_earlier(config)
    check_settings(config)
    check_registration(config)
    with recording("Trainings", f"train {config.name}", active=idist.get_rank() == 0) as recorder:
        checkpoint = recorder.folder / "checkpoints" / "last.pt"
        with naming_the_way_on(config, recorder.run_id, checkpoint):
            train(config, recorder, earlier)


def train(config: Config, recorder: Recorder, earlier: Earlier | None = None) -> None:
    """Build from the config, attach the handlers, run."""
    # build
    seed_everything(config.seed)
    data = build_data(config)
    learner = build_learner(config, data)
    progress = resume(config, learner, data, recorder.folder, earlier)
    data = replace(data, learnt=LearntGround.from_json(progress.learnt))
    log_run(config, data, learner, recorder)

    # trainer and validations
    trainer = create_trainer(
        learner, data.train.places, data.prepare, config.accumulation_steps, config.clip_grad_norm
    )
    made = made_with(learner, data.length, config.accumulation_steps)
    summary = summary_of(config, data)
    saver = Saver(learner, progress, data.train, recorder.folder, summary, made)
    validation, seen = (
        None
        if loader is None
        else Validation(
            learner,
            create_evaluator(learner, loader.places, data.classes, data.prepare),
            loader,
            recorder,
            saver,
            config.val_metrics,
            prefix=prefix,
        )
        for prefix, loader in (("val", data.val), ("train", data.train_eval))
    )

    # handlers, in the order in which they act
    attach_epochs(trainer, progress, data.train)
    attach_curves(trainer, learner, recorder, config.log_interval, config.max_minutes)
    if seen is not None:
        attach_validation(trainer, seen, config.val_interval)
    if validation is not None:
        attach_validation(
            trainer, validation, config.val_interval, at_start=config.start_by_validation
        )
        if config.log_predictions > 0:
            validation.on_better = PictureMaker(learner, data, recorder, config.log_predictions)
        if config.es_patience is not None:
            attach_early_stopping(trainer, progress, config.es_patience)
    if config.max_minutes is not None:
        attach_time_limit(trainer, validation, config.max_minutes)
    attach_saver(trainer, saver)
    if config.soup:
        soup = Soup(config.soup, learner, saver, data.train, validation, data.prepare)
        attach_soup(trainer, soup)

    # run
    batches = start_at(trainer, data.train, progress, data.length, config.num_epochs)
    if progress.iteration < data.length * config.num_epochs:
        with progress_bar(trainer, active=idist.get_rank() == 0):
            trainer.run(batches, max_epochs=config.num_epochs, epoch_length=data.length)
    else:  # stopped before its soup was done
        trainer.fire_event(Events.COMPLETED)
    finish(config, data, learner, progress, recorder)
