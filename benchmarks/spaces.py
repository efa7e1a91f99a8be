"""The scenes that the cases may use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scene import Workspace

__all__ = ["Spaces"]


@dataclass(frozen=True)
class Spaces:
    """The scene that is measured on, the small one, and sizes of what is made beside them.

    `polygons`: side of the mask with 200,000 regions; `huge`: that of the scene that memory is
    measured on, a multiple of the small one's.
    """

    root: Path
    large: Workspace
    small: Workspace
    polygons: int = 10_000
    huge: int = 24_576

    @classmethod
    def below(cls, root: Path, large: int, small: int, polygons: int, huge: int) -> Spaces:
        """Workspaces of those sizes under `root`, none of them made yet."""
        big, little = (Workspace(root / str(n), n) for n in (large, small))
        return cls(root, big, little, polygons, huge)
