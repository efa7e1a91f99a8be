"""Options that several commands have, with the names and defaults of the MLflow entry points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["PATH", "io", "outlines", "results", "threshold", "tiling", "vectors", "work"]

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


def vectors(function: F) -> F:
    """Options of the polygons for work."""
    function = click.option(
        "--simplify", type=click.FloatRange(0), default=10, help="tolerance in metres (GeoPackage)"
    )(function)
    return click.option(
        "--min_area", type=click.FloatRange(0), default=400, help="square metres (GeoPackage)"
    )(function)


def outlines(function: F) -> F:
    """Options of their holes and corners."""
    function = click.option(
        "--square", type=bool, default=False, help="right angles where they fit (GeoPackage)"
    )(function)
    return click.option(
        "--min_hole", type=click.FloatRange(0), default=400, help="square metres (GeoPackage)"
    )(function)


threshold = click.option("--threshold", default="", help="of the probability; the run's by default")
