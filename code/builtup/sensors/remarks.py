"""What is said of scenes: choices made for the user, in one line for all files that are alike."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from builtup.jobs.store import with_urls

__all__ = ["Remark", "joined", "say"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remark:
    """What was chosen for a file.

    `what` is the same text for files that are alike, `detail` is this file's own; `doubtful` what
    the user should be warned of.
    """

    file: str
    what: str
    detail: str = ""
    doubtful: bool = True


def joined(remarks: Iterable[Remark]) -> list[tuple[str, bool]]:
    """A line for all files of which the same is said, with the first one's detail, and whether it
    is a warning; in the order in which they came."""
    alike: dict[tuple[str, bool], list[Remark]] = defaultdict(list)
    for remark in dict.fromkeys(remarks):
        alike[remark.what, remark.doubtful].append(remark)
    return [(_line(some), doubtful) for (_, doubtful), some in alike.items()]


def say(remarks: Iterable[Remark]) -> None:
    """Log them, those in doubt as warnings."""
    for line, doubtful in joined(remarks):
        log.log(logging.WARNING if doubtful else logging.INFO, "%s", with_urls(line))


def _line(remarks: list[Remark]) -> str:
    first, *others = remarks
    more = f" and {len(others)} more" if others else ""
    detail = f" ({first.detail})" if first.detail else ""
    return f"{first.file}{more}: {first.what}{detail}"
