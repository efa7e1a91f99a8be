"""The model registry: versions of a config's models, and which of them is @champion."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builtup.errors import RunError
from builtup.runs import tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = [
    "CHAMPION",
    "Score",
    "champion_by_default",
    "is_model_uri",
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
    chosen, reason = verdict(score, None if present is None else Score.of(present.tags))
    if champion is not None:
        chosen, reason = champion, "as asked for"
    if chosen:
        own.set_registered_model_alias(name, CHAMPION, version.version)
        if champion is None and present is None:
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
        run_id = mlflow.models.get_model_info(uri).run_id
    except (MlflowException, OSError) as e:
        reason = str(e).strip().splitlines()[0][:200]
        raise RunError(
            f"{uri}: no such model in {own.tracking_uri} ({reason}); "
            "look for its name and aliases in the dashboard's Models"
        ) from e
    if not run_id:
        raise RunError(f"{uri}: belongs to no run; give a run id")
    return str(run_id)
