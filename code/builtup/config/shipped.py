"""The configs and scripts that come with the package, for folders that hold no checkout.

`builtup/project/` holds links to configs/ and code/scripts/ of the repository; a wheel holds the
files. So `configs/train/demo.py` means the same in a checkout and anywhere else.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import builtup

__all__ = ["PROJECT", "found"]

log = logging.getLogger(__name__)

#: What stands for the root of a checkout.
PROJECT = Path(builtup.__file__).parent / "project"


def found(path: Path, name: Path | None = None) -> Path:
    """`path`, or where there is no such file, the one that came with builtup under that name.

    Its `name` is relative to the root of a checkout: `path` itself by default.
    """
    name = path if name is None else name
    own = PROJECT / name
    if path.exists() or name.is_absolute() or ".." in name.parts or not own.is_file():
        return path
    _say(name)
    return own


@cache
def _say(name: Path) -> None:
    log.info("%s: not in this folder; the one that came with builtup is taken", name)
