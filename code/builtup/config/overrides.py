"""Overrides of a config's settings: text, parsed as the type of the constant it replaces."""

from __future__ import annotations

import ast
import shlex
import types
import typing
from typing import Any

from builtup.errors import ConfigError

__all__ = ["describe_kinds", "kinds_of", "parse_value", "split_overrides"]

_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    tuple: "a tuple such as (1, 2)",
    type(None): "none",
}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def split_overrides(text: str) -> tuple[tuple[str, str], ...]:
    """`"lr=0.1 run_id='12 3'"` as pairs of name and text, split as a shell would."""
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise ConfigError(f"overrides={text!r}: {e}; close the quotation") from e
    pairs = []
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ConfigError(
                f"overrides={text!r}: {word!r} is no override; write name=value, without spaces "
                "around the sign"
            )
        pairs.append((name, value))
    return tuple(pairs)


def kinds_of(annotation: Any) -> tuple[type, ...]:
    """The members of `int | None`, or the one type."""
    if isinstance(annotation, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def describe_kinds(kinds: tuple[type, ...]) -> str:
    """`an integer or none`, for error messages."""
    return " or ".join(_WORDS[kind] for kind in kinds if kind in _WORDS)


def parse_value(text: str, kinds: tuple[type, ...], example: Any = None) -> Any:
    """Text as the first of `kinds` that it can be; ValueError says what was expected.

    `kinds` of `(object,)` stands for a constant that is None: any literal, else text. `example`
    is the tuple that is replaced: it says whether the parts are text or numbers.
    """
    if kinds == (object,):
        return _literal_or_text(text)
    for kind in (type(None), bool, int, float, tuple, str):
        if kind is bool and int in kinds and text.isdigit():
            continue  # where a number may stand, 1 is one
        if kind in kinds:
            parsed = _parse_one(text, kind, example)
            if parsed is not _FAILED:
                return parsed
    raise ValueError(describe_kinds(kinds))


_FAILED = object()


def _parse_one(text: str, kind: type, example: Any) -> Any:
    if kind is str:
        return _unquoted(text)
    if kind is tuple:
        return _parse_tuple(text, example if isinstance(example, tuple) else ())
    if kind is type(None):
        return None if text.lower() in {"none", ""} else _FAILED
    if kind is bool:
        return _TRUTH.get(text.lower(), _FAILED)
    try:
        return kind(text)
    except ValueError:
        return _FAILED


def _parse_tuple(text: str, example: tuple[Any, ...]) -> Any:
    inner = text.strip()
    if inner[:1] in {"(", "["} and inner[-1:] in {")", "]"}:
        inner = inner[1:-1]
    if example and all(isinstance(part, str) for part in example):
        return tuple(_unquoted(part.strip()) for part in inner.split(",") if part.strip())
    try:
        value = ast.literal_eval(f"({inner.rstrip().rstrip(',')},)" if inner.strip() else "()")
    except (ValueError, SyntaxError):
        return _FAILED
    numbers = example and all(type(part) in {int, float} for part in example)
    if numbers and not all(type(part) in {int, float} for part in value):
        return _FAILED
    return value


def _literal_or_text(text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"none": None, "true": True, "false": False}.get(text.lower(), _unquoted(text))
    return tuple(value) if isinstance(value, list) else value


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
