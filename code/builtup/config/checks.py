"""What a config may say: names that something reads, types, values, signatures of builders."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from builtup.config.overrides import describe_kinds, kinds_of, parse_value
from builtup.config.reads import Reads
from builtup.config.settings import BUILDERS, FUNCTIONS, KNOWN, PROVIDED, SPACE, senseless
from builtup.errors import ConfigError

__all__ = [
    "check_names",
    "check_signatures",
    "check_value",
    "check_values",
    "overridden",
    "refuse_other_builders",
    "refuse_unknown",
    "refuse_unread",
]


def check_names(path: Path, reads: Reads, overrides: Sequence[tuple[str, str]]) -> None:
    """ConfigError for overrides that match no setting, that nothing reads or of a wrong type.

    Only the files' text is looked at: nothing of the config has run.
    """
    for name, text in overrides:
        known = KNOWN.get(name)
        if known is None and reads.assigned is not None and name not in reads.assigned:
            raise _no_such(path, name, text, [*reads.assigned, *KNOWN])
        if (known is None or not known.by) and not reads.built_with(name):
            raise ConfigError(
                f"{path}: override {name}={text}: nothing reads it in this config"
                f"{reads.why_not(name)}; leave it out, or take a config that does"
            )
        if known is not None and tuple not in kinds_of(known.kind):
            _parsed(path, name, text, kinds_of(known.kind), None)


def refuse_unread(path: Path, reads: Reads) -> None:
    """ConfigError for a setting of the last file that nothing reads: it would mislead."""
    for name in sorted(reads.own):
        known = KNOWN.get(name)
        read = reads.built_with(name) or name in reads.loading or name.startswith("_")
        if not read and name in reads.replaced and (known is None or not known.by):
            raise ConfigError(
                f"{path}: setting {name}: nothing reads it{reads.why_not(name)}; remove it"
            )


def refuse_unknown(
    path: Path, constants: Iterable[str], functions: Iterable[str], used: set[str]
) -> None:
    """A typing mistake must not pass in silence: what nothing reads is unknown."""
    for name in functions:
        if name not in FUNCTIONS and name not in used and not name.startswith("_"):
            raise ConfigError(
                f"{path}: function {name} is unknown{_meant(name, FUNCTIONS)}; "
                f"expected one of {', '.join(FUNCTIONS)}"
            )
    for name in constants:
        if name not in KNOWN and name not in used:
            raise ConfigError(
                f"{path}: setting {name} is unknown, nothing reads it{_meant(name, KNOWN)}; "
                "correct its name or remove it"
            )


def refuse_other_builders(path: Path, namespace: Iterable[str], functions: Iterable[str]) -> None:
    """What is imported or assigned under a builder's name would be passed over in silence."""
    for name in FUNCTIONS:
        if name in namespace and name not in functions:
            raise ConfigError(
                f"{path}: {name} is no function of this file; write def {name}(…): return …"
            )


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _no_such(path: Path, name: str, text: str, names: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"{path}: override {name}={text} matches no setting{_meant(name, names)}; "
        f"expected one of {', '.join(sorted(set(names)))}"
    )


def overridden(path: Path, name: str, text: str, constants: Mapping[str, Any]) -> Any:
    """The value that an override gives a setting, in the type of what it replaces."""
    known = KNOWN.get(name)
    if known is None and name not in constants:
        raise _no_such(path, name, text, constants)
    example = constants.get(name)
    kinds = kinds_of(known.kind) if known else ((object,) if example is None else (type(example),))
    return _parsed(path, name, text, kinds, example)


def _parsed(path: Path, name: str, text: str, kinds: tuple[type, ...], example: Any) -> Any:
    try:
        return parse_value(text, kinds, example)
    except ValueError as e:
        raise ConfigError(f"{path}: override {name}={text}: expected {e}") from e


def check_value(path: Path, name: str, value: Any) -> Any:
    """The value as the setting's type; ConfigError where it is of another."""
    known = KNOWN.get(name)
    kinds = kinds_of(known.kind) if known else (bool, int, float, str, tuple, type(None))
    if float in kinds and type(value) is int and int not in kinds:
        return float(value)
    if type(value) not in kinds:
        raise ConfigError(f"{path}: {name} = {value!r}: expected {describe_kinds(kinds)}")
    return value


def check_values(path: Path, settings: Mapping[str, Any]) -> None:
    """ConfigError for the first setting whose value makes no sense."""
    for name, value in settings.items():
        if wanted := senseless(name, value):
            raise ConfigError(f"{path}: {name} = {value!r}: expected {wanted}")


def check_signatures(path: Path, builders: Mapping[str, Callable[..., Any]]) -> None:
    """ConfigError for a builder that asks for what is not built before it."""
    for name, function in builders.items():
        allowed = (*BUILDERS[: FUNCTIONS.index(name)], *PROVIDED)
        if name == SPACE:
            allowed = ("trial",)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in allowed and parameter.default is inspect.Parameter.empty:
                raise ConfigError(
                    f"{path}: {name}({parameter.name}): unknown parameter"
                    f"{_meant(parameter.name, allowed)}; expected {', '.join(allowed)}"
                )
