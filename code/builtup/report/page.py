"""The page: what stands on it, put into its template. Whatever comes from data is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from builtup.report.mapped import MappedRow
from builtup.report.scores import ClassTable, ScoreRow
from builtup.report.svg_charts import interval_bar
from builtup.report.view import CityView

__all__ = ["ASSETS", "Page", "Row", "render", "templates"]

#: A tile of the MGRS, with which the keys of radar's cities begin.
_TILE = re.compile(r"\d{2}[A-Za-z]{3}")
ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True)
class Row:
    """A line of the table of scores; `together` says that it is of all cities."""

    label: str
    scores: ScoreRow
    marks: tuple[str, ...] = ()
    together: bool = False

    @property
    def bar(self) -> Markup:
        """F1 and its interval, drawn."""
        f1 = self.scores.f1
        return interval_bar(f1.value, f1.low, f1.high, "F1")


@dataclass(frozen=True)
class Page:
    """All that the page says. `head` are the scores that stand first, `how` explains them.

    `classes` are the scores of several classes against masks.
    """

    title: str
    summary: str
    notes: tuple[str, ...]
    head: ScoreRow | None
    rows: tuple[Row, ...]
    how: str
    views: tuple[CityView, ...]
    marks: Mapping[str, tuple[str, ...]]
    facts: tuple[tuple[str, str], ...]
    mapped: tuple[MappedRow, ...] = ()
    classes: ClassTable | None = None
    seconds: tuple[tuple[str, float], ...] = ()

    @property
    def by_class(self) -> bool:
        """Whether a map is shown in the colours of its classes."""
        return any(view.by_class for view in self.views)

    @property
    def longest(self) -> float:
        """Seconds of the longest step."""
        return max((seconds for _, seconds in self.seconds), default=1.0) or 1.0


def render(page: Page) -> str:
    """The HTML, with style, script and pictures in it."""
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    template = templates().get_template("page.html")
    return template.render(
        page=page,
        name_of=name_of,
        css=(ASSETS / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def templates() -> Environment:
    """The templates of pages, which escape whatever is put into them."""
    return Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)


def name_of(city: str) -> tuple[str, str]:
    """The name and the tile of a city's key `<TILE>_<City>`; other keys are names."""
    tile, _, name = city.partition("_")
    return (name, tile) if name and _TILE.fullmatch(tile) else (city, "")
