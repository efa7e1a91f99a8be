"""The small family of errors that a user may meet.

Each message is one line: what (a file, a setting), the problem, the remedy. The command line
prints it and exits with status 1; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

__all__ = [
    "BuiltupError",
    "ClusterError",
    "ConfigError",
    "FileError",
    "GridError",
    "InputError",
    "LeakageError",
    "NoSuchRunError",
    "OutputError",
    "RunError",
    "alike",
    "one_line",
]


class BuiltupError(Exception):
    """Base of all errors that are the input's fault and not ours."""

    def reworded(self, reword: Callable[[str], str]) -> Self:
        """The same error, in other words."""
        return type(self)(reword(str(self)))


class FileError(BuiltupError):
    """What is wrong with a file or folder: `path: problem; remedy`."""

    def __init__(self, path: Path | str, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}; {remedy}")
        self.path = str(path)
        self.problem = problem
        self.remedy = remedy

    def reworded(self, reword: Callable[[str], str]) -> Self:
        """The same error, in other words."""
        return type(self)(reword(self.path), reword(self.problem), reword(self.remedy))

    def of_many(self, count: int) -> Self:
        """The same, said of the first of `count` files: `path and 3 more: problem; remedy`."""
        if count < 2:
            return self
        return type(self)(f"{self.path} and {count - 1} more", self.problem, self.remedy)

    def __reduce__(self) -> tuple[type[FileError], tuple[str, str, str]]:
        # errors cross from worker processes by pickle
        return type(self), (self.path, self.problem, self.remedy)


class InputError(FileError):
    """An input that cannot be used."""


class GridError(InputError):
    """Two rasters that should lie on one grid and do not."""


class OutputError(FileError):
    """An output that cannot be written (no permission, disk full)."""


class ConfigError(BuiltupError):
    """A config or override with a missing, unknown or wrongly typed name."""


class LeakageError(BuiltupError):
    """Training ground within the gap of validation ground."""


class RunError(BuiltupError):
    """An MLflow run that does not exist or lacks what is asked of it."""


class NoSuchRunError(RunError):
    """A tracking database that was asked, and has no such run."""


class ClusterError(BuiltupError):
    """A scheduler or workers that cannot do our jobs."""


def alike(errors: Iterable[FileError]) -> list[tuple[FileError, int]]:
    """The first of each kind of errors and how many are of it, in their order.

    Errors are of one kind where problem and remedy differ by nothing but names, paths and figures.
    """
    kinds: dict[tuple[str, str], tuple[FileError, int]] = {}
    for e in errors:
        kind = _plain(e.problem), _plain(e.remedy)
        first, count = kinds.get(kind, (e, 0))
        kinds[kind] = first, count + 1
    return list(kinds.values())


def _plain(text: str) -> str:
    """A text without words that hold digits, slashes or underscores."""
    return re.sub(r"\S*[\d/\\_]\S*", "#", text)


def one_line(e: BaseException, most: int | None = None) -> str:
    """The first `most` characters of what an exception says, on one line; its type if nothing."""
    return " ".join(str(e).split())[:most] or type(e).__name__
