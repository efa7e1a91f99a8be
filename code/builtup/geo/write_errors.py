"""Failed writes that GDAL does not raise: those of blocks that are flushed when a file is closed.

rasterio only logs them, and at level INFO, because GDAL may call something an error and yet go on.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["failed_writes"]

_LOGGER = "rasterio._env"
#: Of all that GDAL calls an error, what says that bytes are not where they belong.
_WRITE = re.compile(
    r"writ|append|flush|no space|too large|quota|out of disk|disk full", re.IGNORECASE
)
_lock = threading.Lock()
_listeners: list[list[str]] = []


class _Tap(logging.Filter):
    """Hands on failed writes; lets through what the logger's level would have let through."""

    def __init__(self, level: int, effective: int) -> None:
        super().__init__()
        self.level, self.effective = level, effective

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.levelno >= logging.ERROR or (
            message.startswith("GDAL signalled an error") and _WRITE.search(message)
        ):
            for messages in tuple(_listeners):
                messages.append(message)
        return record.levelno >= self.effective


_taps: list[_Tap] = []


@contextmanager
def failed_writes() -> Iterator[list[str]]:
    """A list that gets the message of each write that fails while the context lasts.

    Contexts may be nested, and be entered in several threads: each list gets all of them.
    """
    logger, messages = logging.getLogger(_LOGGER), list[str]()
    with _lock:
        if not _listeners:
            _taps.append(_Tap(logger.level, logger.getEffectiveLevel()))
            logger.addFilter(_taps[0])
            logger.setLevel(logging.INFO)  # whatever a command line has silenced
        _listeners.append(messages)
    try:
        yield messages
    finally:
        with _lock:
            # by identity: equal lists are not the same
            _listeners[:] = [other for other in _listeners if other is not messages]
            if not _listeners:
                tap = _taps.pop()
                logger.removeFilter(tap)
                logger.setLevel(tap.level)
