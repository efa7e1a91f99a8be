"""The model registry: versions of a config's models, and which of them is @champion."""

from __future__ import annotations

import logging
import math
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builtup.errors import BuiltupError, ConfigError, RunError
from builtup.runs import tracking
from builtup.runs.database import said

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "CHAMPION",
    "Score",
    "champion_by_default",
    "is_model_uri",
    "model_name",
    "register",
    "run_of_model",
    "verdict",
]

log = logging.getLogger(__name__)

CHAMPION = "champion"
#: The tag of a version that became champion because there was no other.
_BY_DEFAULT = "champion_by_default"
_SCHEME = "models:/"
_F1, _FOLD, _DATA = "val/f1", "fold", "data"


@dataclass(frozen=True)
class Score:
    """A version's validation: building F1 (NaN without one), the fold held out, a data digest."""

    f1: float
    fold: str
    data: str

    def tags(self) -> dict[str, str]:
        """As tags of a model version."""
        return {_F1: repr(self.f1), _FOLD: self.fold, _DATA: self.data}

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Score:
        """Read a version's tags."""
        return cls(float(tags.get(_F1, "nan")), tags.get(_FOLD, ""), tags.get(_DATA, ""))


def verdict(own: Score, champion: Score | None) -> tuple[bool, str]:
    """Whether a new version becomes @champion without being asked for, and why."""
    if math.isnan(own.f1):
        return False, "it was not validated"
    if champion is None:
        return True, "there is none yet"
    if (own.fold, own.data) != (champion.fold, champion.data):
        return False, "the present one was validated on another fold or other data"
    if math.isnan(champion.f1) or own.f1 > champion.f1:
        return True, f"val/f1 {own.f1:.4f} is above its {champion.f1:.4f}"
    return False, f"val/f1 {own.f1:.4f} is not above its {champion.f1:.4f}"


def register(
    model_id: str, name: str, score: Score, *, champion: bool | None = None
) -> ModelVersion:
    """Register a logged model under `name`; one line says whether it becomes @champion.

    `champion=None` lets `verdict` decide. Raises MlflowException.
    """
    import mlflow

    own = tracking.client()
    version = mlflow.register_model(
        f"{_SCHEME}{model_id}", name, tags=score.tags(), await_registration_for=0
    )
    holder = own.get_registered_model(name).aliases.get(CHAMPION)
    present = None if holder is None else own.get_model_version(name, str(holder))
    lost = "" if present is None else _lost(present)
    rival = None if present is None or lost else Score.of(present.tags)
    chosen, reason = verdict(score, rival)
    if chosen and lost:
        reason = lost
    if champion is not None:
        chosen, reason = champion, "as asked for"
    if chosen:
        own.set_registered_model_alias(name, CHAMPION, version.version)
        if champion is None and rival is None:
            own.set_model_version_tag(name, version.version, _BY_DEFAULT, "true")
        before = "" if present is None else f", in place of version {present.version}"
        log.info("%s version %s is @champion%s: %s", name, version.version, before, reason)
    else:
        log.info("%s version %s is not made @champion: %s", name, version.version, reason)
    return version


def champion_by_default(uri: str) -> list[str]:
    """The doubt about a model that is asked for as @champion and was never compared; or nothing."""
    name, _, alias = uri.removeprefix(_SCHEME).partition("@")
    if not is_model_uri(uri) or alias != CHAMPION:
        return []
    from mlflow.exceptions import MlflowException

    try:
        version = tracking.client().get_model_version_by_alias(name, CHAMPION)
    except MlflowException:  # its weights are here: said where they were looked for
        return []
    if _BY_DEFAULT not in version.tags:
        return []
    return [f"its model became {CHAMPION} of {name} because there was no other to compare with"]


def _lost(version: ModelVersion) -> str:
    """Why a version cannot be used any more; "" where it can."""
    try:
        run = tracking.find_run(str(version.run_id))
    except BuiltupError:
        return f"the run of version {version.version} is gone"
    if run.info.lifecycle_stage == "deleted":
        return f"the run of version {version.version} was deleted"
    folder = tracking.artifact_folder(run)
    gone = folder is not None and not folder.is_dir()
    return f"the files of version {version.version} are gone" if gone else ""


def model_name(config: str, asked: str | None = None) -> str:
    """The name to register a config's model under: what was asked for, else the config's own.

    Raises ConfigError for one that was asked for and MLflow does not take.
    """
    if asked is None or not asked.strip():
        return config.replace("/", "-").replace(":", "-")
    if {"/", ":"} & set(asked) or posixpath.normpath(asked) in {".", ".."} or len(asked) > 250:
        raise ConfigError(
            f"register = {asked}: MLflow takes no such name of a model; give one of at most 250 "
            "letters without / and :"
        )
    return asked


def is_model_uri(text: str) -> bool:
    """Whether a text names a model of the registry, or a logged one."""
    return text.startswith(_SCHEME)


def run_of_model(uri: str) -> str:
    """The training run behind models:/name@alias, models:/name/version or models:/m-….

    Raises RunError where the registry has none.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    own = tracking.client()
    try:
        version = _version(own, uri)
        run_id = mlflow.models.get_model_info(uri).run_id if version is None else version.run_id
    except (MlflowException, OSError) as e:
        raise RunError(
            f"{uri}: no such model in {own.tracking_uri} ({said(e)}); "
            "look for its name and aliases in the dashboard's Models"
        ) from e
    if not run_id:
        raise RunError(f"{uri}: belongs to no run; give a run id")
    lost = "" if version is None else _lost(version)
    if lost.endswith("deleted"):
        log.warning("%s: %s in the dashboard; its files are there still", uri, lost)
    elif lost:
        raise RunError(
            f"{uri}: {lost}; give another version or a run id, or train again: the next model of "
            "that name takes its place"
        )
    return str(run_id)


def _version(own: MlflowClient, uri: str) -> ModelVersion | None:
    """The version that models:/name@alias or models:/name/number names, else None."""
    name, at, alias = uri.removeprefix(_SCHEME).rpartition("@")
    if at:
        return own.get_model_version_by_alias(name, alias)
    name, _, number = uri.removeprefix(_SCHEME).rpartition("/")
    return own.get_model_version(name, number) if name and number.isdecimal() else None
