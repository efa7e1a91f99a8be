"""Scores as they are printed and as JSON has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from builtup.scoring.bootstrap import Interval

__all__ = ["as_json", "markdown", "span", "three_decimals"]


def three_decimals(value: float) -> str:
    """Three decimals, or `undefined`."""
    return f"{value:.3f}" if math.isfinite(value) else "undefined"


def span(interval: Interval, *, signed: bool = False) -> str:
    """`0.612–0.701`, of differences `-0.012 to +0.034`."""
    if signed and math.isfinite(interval.low):
        return f"{interval.low:+.3f} to {interval.high:+.3f}"
    return f"{three_decimals(interval.low)}–{three_decimals(interval.high)}"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table, the first of them its head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (len(rows[0]) - 1) + "|")
    return "\n".join(lines)


def as_json(value: Any) -> Any:
    """Dicts, sequences, arrays and numbers as JSON has them: None for what is not finite."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return as_json(value.tolist())
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
