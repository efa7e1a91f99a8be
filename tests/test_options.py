"""Options that several commands share."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from builtup.errors import BuiltupError
from builtup.options import Numbers, PolygonOptions, polygon_options


@pytest.mark.parametrize(
    ("name", "value"), [("simplify", float("nan")), ("min_area", -5), ("min_hole", float("inf"))]
)
def test_what_is_no_size_is_refused(name: str, value: float) -> None:
    message = f"^{name}={value}: no size; it must be a finite number ≥ 0$"
    with pytest.raises(BuiltupError, match=message):
        PolygonOptions(**{name: value})


@click.command()
@polygon_options
@click.option("--other", default="")
def command(polygons: PolygonOptions, other: str) -> None:
    click.echo(f"{polygons} {other}")


def test_a_command_gets_its_polygon_options_as_one_thing() -> None:
    result = CliRunner().invoke(command, ["--min_hole", "100", "--square", "true", "--other", "x"])
    expected = PolygonOptions(min_hole=100.0, square=True)
    assert result.output.strip() == f"{expected} x"


def test_their_defaults_are_those_of_the_dataclass() -> None:
    assert CliRunner().invoke(command).output.strip() == str(PolygonOptions())
    assert [option.name for option in command.params] == [
        "min_area", "simplify", "min_hole", "square", "classes", "other",
    ]  # fmt: skip


def test_sizes_that_nobody_gives_are_those_of_the_pixels() -> None:
    assert PolygonOptions().sized() == (400.0, 10.0, 400.0, False, "")
    fine = PolygonOptions(simplify=1, classes="car").sized(fine=True)
    assert fine == (4.0, 1.0, 4.0, False, "car")


def test_a_size_of_the_command_line_is_a_number_of_0_or_more() -> None:
    assert CliRunner().invoke(command, ["--min_area", "-1"]).exit_code == 2
    assert CliRunner().invoke(command, ["--min_area", "large"]).exit_code == 2


def test_numbers_are_separated_by_semicolons_and_may_be_fractions() -> None:
    numbers = Numbers()
    assert numbers.convert("1/4;0.5; 1", None, None) == (0.25, 0.5, 1.0)
    assert numbers.convert("", None, None) == () == numbers.convert((), None, None)
    for wrong in ("a half", "1/0", "1,2"):
        with pytest.raises(click.BadParameter, match="are not numbers separated by ;"):
            numbers.convert(wrong, None, None)
