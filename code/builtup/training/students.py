"""Students: trainings that begin with the network of another one, their teacher.

A run must be found again without any other, so that what the teacher's network is built from is
kept with the student's config: the config that the teacher logged, or its one file.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from torch import nn

from builtup.models.described import build_described
from builtup.models.heads import heads_of, without_heads
from builtup.runs.lineage import find_artifacts
from builtup.runs.model_file import ModelDescription, find_model_file
from builtup.training.checkpoints import TEACHER, load_trained, rebuilt

__all__ = ["keep_teacher", "network_of"]

log = logging.getLogger(__name__)

#: What a teacher that is one file is kept as.
_FILE = "teacher.safetensors"


def network_of(teacher: str, *, weights: bool = True, heads: bool = False) -> nn.Module:
    """The network of another training, for a config's model(): with its weights, or without.

    `teacher` is the config's setting of that name: a run, a folder or a file, as `load_trained`
    takes it. Heads beside the classes are left out, unless the config's criterion has losses of
    them (`heads`): a teacher's maps say nothing of them, and a head that stays as it is while the
    features below it move answers worse and worse. Raises as `load_trained`.
    """
    network = load_trained(teacher).model.train() if weights else _bare(teacher)
    found = heads_of(network)
    if heads or not found:
        return network
    if weights:
        log.info("heads of the teacher that the student does without: %s", ", ".join(found))
    return without_heads(network)


def _bare(teacher: str) -> nn.Module:
    """The network of another training without its weights."""
    kept = Path(teacher) / _FILE
    file = kept if kept.is_file() else find_model_file(teacher)
    if file is not None:
        said = ModelDescription.read(file)
        return build_described(said.channels, said.network)
    return rebuilt(find_artifacts(teacher)[0])[1]


def keep_teacher(teacher: str, config_folder: Path) -> None:
    """Keep in a logged config what the teacher's network is built from; none: nothing."""
    if not teacher:
        return
    kept, file = config_folder / TEACHER, find_model_file(teacher)
    if file is None:
        source = find_artifacts(teacher)[0] / "config"
        shutil.copytree(source, kept / "config", dirs_exist_ok=True)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, kept / _FILE)
