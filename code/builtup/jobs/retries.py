"""Trying again what may succeed a moment later: a network that fails, a store that is busy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from builtup.errors import one_line

__all__ = ["Retries"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """How often, and after how many seconds each, something is tried again."""

    delays: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    sleep: Callable[[float], None] = time.sleep

    def call(
        self,
        action: Callable[[], Result],
        may_pass: Callable[[Exception], bool],
        name: str,
        reason: Callable[[Exception], str] = one_line,
    ) -> Result:
        """What `action` returns, which is called again after each error that `may_pass`.

        A warning tells of each: `name`, its `reason`, the delay. Other errors, and that of the last
        try, are raised as they are.
        """
        for delay in self.delays:
            try:
                return action()
            except Exception as e:
                if not may_pass(e):
                    raise
                log.warning("%s: %s; again in %.0f s", name, reason(e)[:160], delay)
            self.sleep(delay)
        return action()
