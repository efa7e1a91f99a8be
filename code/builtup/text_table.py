"""Tables and counts as commands print them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "text_table"]


def counted(count: int, plural: str) -> str:
    """`1 city`, `2 cities`, `1,234 polygons`: a number and what it is of."""
    if count != 1:
        return f"{count:,} {plural}"
    return f"1 {plural[:-3]}y" if plural.endswith("ies") else f"1 {plural.removesuffix('s')}"


def text_table(rows: Sequence[Sequence[str]], *, left: int = 1, ruled: bool = False) -> str:
    """Rows of cells as lines of text, the first row being the head.

    The first `left` columns are flush left, the others, of numbers, flush right; `ruled` draws a
    line below the head. Raises ValueError for rows of different lengths.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if ruled:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
