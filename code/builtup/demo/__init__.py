"""The demo: a whole chain on simulated towns, seen by radar or from the air."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

__all__ = ["demo"]


class Outcome(Protocol):
    """What a demo leaves."""

    def lines(self) -> list[str]:
        """What to print at the end."""

    def check(self) -> None:
        """Raise BuiltupError where the network is not worth its training."""


def demo(
    output_path: Path, sensor: str = "sentinel1", seed: int = 0, max_minutes: float = 3.0
) -> Outcome:
    """Run the chain of a sensor under `output_path`, training for `max_minutes`."""
    if sensor == "aerial":
        from builtup.demo.aerial import demo_aerial

        return demo_aerial(output_path, seed, max_minutes)
    from builtup.demo.radar import demo_radar

    return demo_radar(output_path, seed, max_minutes)
