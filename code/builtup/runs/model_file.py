"""Models that are one file, such as the one that comes with builtup: what such a file says.

A safetensors file: weights by name, and a description as JSON in its header, which is read without
the weights. It holds no code. `builtup.training.model_file` writes one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import builtup
from builtup.errors import InputError, one_line
from builtup.runs.records import Part, Summary

__all__ = [
    "SHIPPED",
    "SHIPPED_FILE",
    "SUFFIX",
    "ModelDescription",
    "find_model_file",
    "model_file_name",
]

#: The name of the model that comes with builtup, as `model` and `run_id` take it.
SHIPPED = "shipped"
#: Its file, in a checkout and in what pip installs.
SHIPPED_FILE = Path(builtup.__file__).parent / "models" / "radar_simulated.safetensors"
#: By which a path is known as a model that is one file.
SUFFIX = ".safetensors"
#: The key of the description in a file's header.
_KEY = "builtup"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ModelDescription(Part):
    """What is said of a model that is one file, beside its weights.

    `channels` and `network` are those of `builtup.models.described`, `threshold` one of the mapped
    class's probability, `threshold_rule` whether that is `fixed`, or `half` (0.5) where the network
    was adapted to a scene, and `adapt` how it follows the scenes by default. `trained_on` says in
    words what it learnt from, which is simulated ground: a file names no city, and scores on ground
    that it had seen would not be marked; `texture` is that of this ground, by band that is read
    (`builtup.sensors.texture`), empty where it is not known, `share` that of the mapped class.
    `settings` are those of its training, without paths. `weights` is their sha256.
    """

    VERSION: ClassVar[int] = 1

    name: str
    channels: Mapping[str, Any]
    network: Mapping[str, Any]
    classes: tuple[str, ...]
    threshold: float
    weights: str
    threshold_rule: str = "fixed"
    temperature: float | None = None
    adapt: str = "auto"
    trained_on: str = ""
    simulated: bool = False
    texture: tuple[float, ...] = ()
    share: float | None = None
    seed: int | None = None
    git_commit: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The description in a file's header; InputError where it is damaged, or says none."""
        from safetensors import SafetensorError, safe_open

        remedy = "copy it again, or install builtup anew"
        if not path.is_file():
            raise InputError(path, "does not exist", "check the path, or install builtup anew")
        try:
            with safe_open(path, framework="numpy") as file:
                text = (file.metadata() or {}).get(_KEY)
        except (OSError, SafetensorError) as e:
            raise InputError(path, f"is no safetensors file ({one_line(e, 120)})", remedy) from e
        if text is None:
            raise InputError(path, "does not describe its model", "give a file that builtup wrote")
        try:
            return cls._checked(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            raise InputError(path, f"its description is damaged ({e})", remedy) from e

    @classmethod
    def _checked(cls, header: Mapping[str, Any]) -> Self:
        version, values = int(header["version"]), header["model"]
        if version > cls.VERSION:
            raise ValueError(f"of version {version}, where {cls.VERSION} is the latest known here")
        if _digest(values) != header["sha256"]:
            raise ValueError("sha256 differs")
        said = cls.from_json(values)
        if not said.simulated:
            raise ValueError("it has learnt from ground that it does not name")
        if not 0 <= said.threshold <= 1 or not _SHA256.fullmatch(said.weights):
            raise ValueError("threshold or weights make no sense")
        return said

    def header(self) -> dict[str, str]:
        """The text for a file's header, under one key: the order of several is not kept."""
        values = self.to_json()
        header = {"version": self.VERSION, "sha256": _digest(values), "model": values}
        return {_KEY: json.dumps(header, sort_keys=True)}

    def facts(self) -> Iterator[tuple[str, str]]:
        """What `trace` and the report say of it beside a training's summary: (name, text)."""
        yield "network", str(self.network.get("name", "unknown"))
        yield "channels", str(self.channels.get("set", "unknown"))
        yield "threshold", f"{self.threshold:.4f} ({self.threshold_rule})"
        yield "adapt", self.adapt
        if self.git_commit:
            yield "commit", self.git_commit[:12]

    def summary(self) -> Summary:
        """As the summary of a training: of simulated ground, which no scene that is mapped is."""
        return Summary(
            class_names=self.classes,
            seed=self.seed,
            git_commit=self.git_commit or None,
            threshold=self.threshold,
            threshold_tuned_on=(),
            temperature=self.temperature,
            texture=self.texture,
            share=self.share,
            trained_on=(),
            val_cities=(),
        )


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def find_model_file(name: str | Path) -> Path | None:
    """The file that a model's name stands for: shipped, shipped:<its name>, or a path.

    Empty text is the shipped one; None for the names of runs, folders and other files of weights.
    Raises InputError for a shipped model that this version does not have.
    """
    text = str(name)
    if text in {"", SHIPPED, model_file_name(SHIPPED_FILE)}:
        return SHIPPED_FILE
    if text.startswith(f"{SHIPPED}:"):
        raise InputError(
            text, f"this version of builtup comes with {SHIPPED_FILE.stem}", f"use {SHIPPED}"
        )
    return Path(text) if text.endswith(SUFFIX) else None


def model_file_name(path: Path) -> str:
    """How records and tags name the model of a file: where it lies, or shipped:<its name>."""
    return f"{SHIPPED}:{path.stem}" if path == SHIPPED_FILE else str(path)
