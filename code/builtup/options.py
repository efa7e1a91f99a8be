"""Options of the command line, with the names and defaults of the MLflow entry points.

Each says what it is for, in which unit, and its default (a test reads them all). Here stand those
that several commands have, and the long lists of some.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

import click

from builtup import logs
from builtup.errors import BuiltupError

__all__ = [
    "COUNT",
    "FROM_0",
    "PATH",
    "PROBABILITY",
    "Command",
    "Group",
    "Numbers",
    "OrNothing",
    "PolygonOptions",
    "averaging",
    "io",
    "launching",
    "listed",
    "polygon_options",
    "results",
    "tiling",
    "work",
]

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)


class OrNothing(click.ParamType):
    """A number of a kind of click's; nothing where it is left open."""

    def __init__(self, kind: click.ParamType) -> None:
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The number."""
        text = str(value).strip()
        return self.kind.convert(text, param, ctx) if text else None


class Numbers(click.ParamType):
    """Numbers separated by ;, each perhaps a fraction; nothing where it is left open."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        """The numbers, as floats."""
        from fractions import Fraction

        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(Fraction(part)) for part in value.split(";") if part.strip())
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} are not numbers separated by ;", param, ctx)


# --- what every command has -----------------------------------------------------------------------


def _how_much(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """`--quiet` and `--verbose`: of this process and of those that it starts."""
    if not value or context.resilient_parsing:
        return
    own, other = logs.QUIET, logs.VERBOSE
    if parameter.name == "verbose":
        own, other = other, own
    if context.meta.setdefault("builtup.said", own) != own:
        raise click.UsageError("--quiet and --verbose exclude each other; give one of them")
    os.environ[own] = "1"
    os.environ.pop(other, None)
    logs.set_up()


def _to_file(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None and not context.resilient_parsing:
        logs.write_to(value)


_LOGGING = [
    click.Option(
        ["--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_how_much,
        show_default=False,
        help="warnings and errors only, no progress bars; results are printed",
    ),
    click.Option(
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=_how_much,
        show_default=False,
        help="say details as well",
    ),
    click.Option(
        ["--log-file"],
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_to_file,
        help="a file that all of it is appended to, details included; none by default",
    ),
]


class Command(click.Command):
    """A command with the options of the log lines, which MLflow's entry points do without."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own options, those of the log lines, and `--help`."""
        *own, last = super().get_params(ctx)
        for option in own:
            if isinstance(option, click.Option) and option.default == "":
                option.show_default = False  # the help says what nothing means
        return [*own, *_LOGGING, last]


class Group(click.Group):
    """The commands; `builtup --quiet prepare` is `builtup prepare --quiet`."""

    command_class = Command

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.context_settings.update(help_option_names=["-h", "--help"], show_default=True)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The options before the name of a command."""
        *own, last = super().get_params(ctx)
        return [*own, *_LOGGING, last]


# --- what several commands have -------------------------------------------------------------------


def io(
    input_default: str, output_default: str, holds: str = "a split", made: str = ""
) -> Callable[[F], F]:
    """Options `input_path`, a folder that `holds` something, and `output_path` for what is made."""

    def decorate(function: F) -> F:
        function = click.option(
            "--output_path", type=PATH, default=output_default, help=f"folder for {made or 'it'}"
        )(function)
        return click.option(
            "--input_path", type=PATH, default=input_default, help=f"folder of {holds}"
        )(function)

    return decorate


def work(function: F) -> F:
    """Options of every data step but `scheduler`, which `on_cluster` of the command line adds."""
    function = click.option(
        "--on_error",
        type=click.Choice(["stop", "skip"]),
        default="stop",
        help="stop at bad input, or go on and list what was skipped",
    )(function)
    return click.option(
        "--num_workers", type=click.IntRange(1), default=2, help="processes on this machine"
    )(function)


def tiling(tile_size: int, overlap: int) -> Callable[[F], F]:
    """Options of the cutting into tiles."""

    def decorate(function: F) -> F:
        function = click.option(
            "--materialize",
            type=bool,
            default=True,
            help="write tile files; false lets the list point into the scenes",
        )(function)
        function = click.option(
            "--overlap",
            type=click.IntRange(0),
            default=overlap,
            help="least overlap of neighbours, pixels",
        )(function)
        return click.option(
            "--tile_size", type=click.IntRange(16), default=tile_size, help="side, pixels"
        )(function)

    return decorate


def results(function: F) -> F:
    """Options that choose a set of predictions."""
    function = click.option(
        "--run_id", default="", help="an inference run; the newest finished one by default"
    )(function)
    return click.option(
        "--input_path", default="", help="a folder of predictions; that of run_id by default"
    )(function)


class _PolygonOptions(NamedTuple):
    """No dataclass: importing what makes one would be a thirtieth of `--help`."""

    min_area: float | None = None
    simplify: float | None = None
    min_hole: float | None = None
    square: bool = False
    classes: str = ""


#: Least area, tolerance and least hole (m², metres, m²) that fit pixels of 10 m, and of .1 m.
_COARSE, _FINE = (400.0, 10.0, 400.0), (4.0, 0.3, 4.0)


class PolygonOptions(_PolygonOptions):
    """Of what polygons are made, and how those for work (the GeoPackage) differ from the outlines.

    Regions below `min_area` are left out and holes below `min_hole` filled (both m²), vertices
    removed that lie within `simplify` (metres) of the outline without them: where nothing is said,
    as fits the sensor's pixels, see `sized`. `square` gives right angles where they fit. `classes`
    are names separated by `;`, or "all": polygons then have a field `class`; empty: the mapped one
    alone. Raises BuiltupError for a number that is no size.
    """

    __slots__ = ()

    def __new__(cls, *sizes: Any, **named: Any) -> Self:
        """As `_PolygonOptions`, checked."""
        made = super().__new__(cls, *sizes, **named)
        for name in ("min_area", "simplify", "min_hole"):
            value = getattr(made, name)
            if value is not None and not 0 <= value < math.inf:
                raise BuiltupError(f"{name}={value}: no size; it must be a finite number ≥ 0")
        return made

    def sized(self, *, fine: bool = False) -> _Sized:
        """All of it in numbers: 400 m², 10 m and 400 m² where nothing was said, and for maps of
        `fine` pixels (images from the air) 4 m², .3 m and 4 m²."""
        given = (self.min_area, self.simplify, self.min_hole)
        min_area, simplify, min_hole = (
            float(usual if value is None else value)
            for value, usual in zip(given, _FINE if fine else _COARSE, strict=True)
        )
        return _Sized(min_area, simplify, min_hole, bool(self.square), self.classes)


class _Sized(NamedTuple):
    """`PolygonOptions` in numbers."""

    min_area: float
    simplify: float
    min_hole: float
    square: bool
    classes: str


def polygon_options(function: F) -> F:
    """Options of the polygons for work, handed on as one `polygons: PolygonOptions`."""

    @functools.wraps(function)
    def command(**options: Any) -> Any:
        polygons = PolygonOptions(**{name: options.pop(name) for name in _POLYGON_HELP})
        return function(polygons=polygons, **options)

    made = cast(F, command)
    for name, text in reversed(_POLYGON_HELP.items()):
        default = PolygonOptions._field_defaults[name]
        kind: Any = OrNothing(click.FloatRange(0)) if default is None else type(default)
        shown = "" if default is None else default
        made = click.option(f"--{name}", type=kind, default=shown, help=text)(made)
    return made


_POLYGON_HELP = {
    "min_area": "least area of a polygon (GeoPackage); 400 m², of images 4 m² by default",
    "simplify": "how far an outline may move (GeoPackage); 10 metres, of images 0.3 by default",
    "min_hole": "least area of a hole (GeoPackage); 400 m², of images 4 m² by default",
    "square": "right angles where they fit (GeoPackage)",
    "classes": "classes that get polygons, separated by ; or all; the mapped one by default",
}


threshold = click.option(
    "--threshold", default="", help="of the probability, 0 to 1; the run's own by default"
)
years = click.option(
    "--years",
    type=click.Choice(["apart", "mean"]),
    default="apart",
    help="of a city, by its folders: a map each, or one of their mean",
)


# --- lists --------------------------------------------------------------


def listed(*rows: tuple[str, Any, Any, str] | Callable[[Any], Any]) -> Callable[[F], F]:
    """Options in the order of the help: name, type, default (… where it must be given), help."""

    def decorate(function: F) -> F:
        for row in reversed(rows):
            if callable(row):
                function = row(function)
                continue
            name, kind, default, text = row
            given: dict[str, Any] = {"required": True} if default is ... else {"default": default}
            function = click.option(f"--{name}", type=kind, help=text, **given)(function)
        return function

    return decorate


COUNT, FROM_0 = click.IntRange(1), click.IntRange(0)
PROBABILITY = OrNothing(click.FloatRange(0, 1))

#: Of averaging the dates of cities.
averaging = listed(threshold, years)

#: Of running a script with a config.
launching = listed(
    ("config_path", PATH, ..., "a config: a file, or one of builtup's own (configs/…)"),
    ("num_gpus", COUNT, 1, "processes, on a CPU too"),
    ("nodes", COUNT, 1, "machines: docs/scaling.md"),
    ("overrides", str, "", 'settings to replace, "num_epochs=3 seed=1"; none by default'),
)
