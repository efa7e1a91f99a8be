"""What a training says of itself before its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist

from builtup.config.load import Config
from builtup.runs.manifest import DataManifest, git_commit, used_data, write_config
from builtup.runs.recorder import Recorder
from builtup.runs.records import Summary
from builtup.runs.study_records import ground_of_search
from builtup.training.build import Data
from builtup.training.learner import Learner
from builtup.training.students import keep_teacher

__all__ = ["TRAINING_VERSION", "log_run", "summary_of"]

#: Raise it when the same config and data give other weights: finished folds are then redone.
TRAINING_VERSION = 1


def log_run(config: Config, data: Data, learner: Learner, recorder: Recorder) -> None:
    """Log settings, loss, folds, commit and data manifest; write config/ into the artifacts.

    Settings that nothing reads, of a base whose functions were replaced, are not logged.
    """
    if idist.get_rank() != 0:
        return
    write_config(config, recorder.folder / "config")
    keep_teacher(config.teacher, recorder.folder / "config")
    data.learnt.write(recorder.folder)
    settings = config.read_settings()
    recorder.params({"config": config.name, **settings, **_derived(config, data, learner)})
    recorder.tags(
        {
            "git_commit": git_commit(),
            "config": config.name,
            "fold": data.train.held_out,
            "city": ", ".join(data.val_cities) or _city_of_fold(data),
            "threshold_tuned_on": ", ".join(data.val_cities) or "nothing",
            **(
                {"transductive": ", ".join(data.learnt.transductive)}
                if data.learnt.transductive
                else {}
            ),
        }
    )
    if data.train.tiles is not None:
        manifest = DataManifest.of(Path(config.data_path), data.train.tiles)
        manifest.write(recorder.folder)
        recorder.inputs(
            used_data(loader.sample_tiles or (), manifest, context)
            for loader, context in ((data.train, "training"), (data.val, "validation"))
            if loader is not None
        )


def _city_of_fold(data: Data) -> str:
    """The city of the fold that is held out, which need not be validated on."""
    fold, folds = data.train.val_fold, data.train.folds
    return "" if fold is None or folds is None else folds.city_of(fold)


def summary_of(config: Config, data: Data) -> Summary:
    """What summary.json says of the run besides its scores.

    It was trained on the ground of runs before it too, whose weights it began with. Raises
    ConfigError where `tuned_by` is no search.
    """
    return Summary(
        config=config.path.name,
        val_fold=data.train.held_out or None,
        val_cities=tuple(data.val_cities),
        trained_on=data.learnt.folds,
        transductive=data.learnt.transductive or None,
        num_classes=config.num_classes,
        class_names=data.classes.names,
        class_roles=data.classes.roles() or None,
        seed=config.seed,
        git_commit=git_commit(),
        inherited_threshold=data.inherited,
        settings_tuned_on=ground_of_search(config.tuned_by) if config.tuned_by else None,
    )


def _derived(config: Config, data: Data, learner: Learner) -> dict[str, Any]:
    parameters = sum(p.numel() for p in learner.model.parameters())
    return {
        "overrides": " ".join(config.overrides),
        "loss": str(learner.criterion),
        **({"lessons": "; ".join(map(str, learner.lessons))} if learner.lessons else {}),
        "parameters": parameters,
        "processes": idist.get_world_size(),
        "training_device": str(learner.device),
        "batches_per_epoch": data.length,
        "folds": ", ".join(data.train.fold_names),
    }
