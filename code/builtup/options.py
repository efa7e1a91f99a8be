"""Options that several commands have, with the names and defaults of the MLflow entry points."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from builtup.errors import BuiltupError

__all__ = [
    "PATH",
    "PolygonOptions",
    "io",
    "polygon_options",
    "results",
    "threshold",
    "tiling",
    "work",
]

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


def io(input_default: str, output_default: str) -> Callable[[F], F]:
    """Options `input_path` and `output_path`."""

    def decorate(function: F) -> F:
        function = click.option("--output_path", type=PATH, default=output_default)(function)
        return click.option("--input_path", type=PATH, default=input_default)(function)

    return decorate


def work(function: F) -> F:
    """Options of every data step but `scheduler`, which `on_cluster` of the command line adds."""
    function = click.option(
        "--on_error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        help="stop at bad input, or go on and list what was skipped",
    )(function)
    return click.option("--num_workers", type=click.IntRange(1), default=2, help="processes")(
        function
    )


def tiling(tile_size: int, overlap: int) -> Callable[[F], F]:
    """Options of the cutting into tiles."""

    def decorate(function: F) -> F:
        function = click.option(
            "--materialize",
            type=bool,
            default=True,
            help="write tile files; false lets the list point into the scenes",
        )(function)
        function = click.option("--overlap", type=click.IntRange(0), default=overlap)(function)
        return click.option("--tile_size", type=click.IntRange(16), default=tile_size)(function)

    return decorate


def results(function: F) -> F:
    """Options that choose a set of predictions."""
    function = click.option(
        "--run_id", default="", help="an inference run; the newest finished one by default"
    )(function)
    return click.option("--input_path", default="", help="a folder of predictions")(function)


@dataclass(frozen=True)
class PolygonOptions:
    """How the polygons for work (the GeoPackage) are made of the exact outlines.

    Regions below `min_area` are left out and holes below `min_hole` filled (both m²), vertices
    removed that lie within `simplify` (metres) of the outline without them; `square` gives right
    angles where they fit. Raises BuiltupError for a number that is no size.
    """

    min_area: float = 400.0
    simplify: float = 10.0
    min_hole: float = 400.0
    square: bool = False

    def __post_init__(self) -> None:
        for name in ("min_area", "simplify", "min_hole"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise BuiltupError(f"{name}={value}: no size; it must be a finite number ≥ 0")


def polygon_options(function: F) -> F:
    """Options of the polygons for work, handed on as one `polygons: PolygonOptions`."""

    @functools.wraps(function)
    def command(**options: Any) -> Any:
        polygons = PolygonOptions(**{name: options.pop(name) for name in _POLYGON_HELP})
        return function(polygons=polygons, **options)

    made = cast(F, command)
    for name, text in reversed(_POLYGON_HELP.items()):
        default = getattr(PolygonOptions, name)
        kind: Any = bool if isinstance(default, bool) else click.FloatRange(0)
        shown = default if isinstance(default, bool) else f"{default:g}"
        made = click.option(
            f"--{name}", type=kind, default=shown, help=f"{text} (GeoPackage)"
        )(made)  # fmt: skip
    return made


_POLYGON_HELP = {
    "min_area": "square metres",
    "simplify": "tolerance in metres",
    "min_hole": "square metres",
    "square": "right angles where they fit",
}


threshold = click.option("--threshold", default="", help="of the probability; the run's by default")
