from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from builtup.errors import FileError, GridError, InputError, OutputError, alike, one_line


def test_an_error_is_one_line_or_its_type() -> None:
    assert one_line(ValueError(" a\n  b\t")) == "a b"
    assert one_line(ValueError("abcdef"), 3) == "abc"
    assert one_line(KeyError()) == "KeyError"


@pytest.mark.parametrize("kind", [FileError, InputError, GridError, OutputError])
def test_errors_of_files_are_carried_from_process_to_process(kind: type[FileError]) -> None:
    error = pickle.loads(pickle.dumps(kind(Path("a.tif"), "no CRS", "give it one")))
    assert type(error) is kind
    assert str(error) == "a.tif: no CRS; give it one"
    assert str(error.reworded(str.upper)) == "A.TIF: NO CRS; GIVE IT ONE"


def test_what_cannot_be_written_is_no_bad_input() -> None:
    assert not issubclass(OutputError, InputError)
    assert issubclass(OutputError, FileError)


def test_errors_that_differ_by_names_and_figures_are_alike() -> None:
    remedy = "add {}_vh.tif to the same city"
    errors = [InputError(f"{x}.tif", "VV without VH", remedy.format(x)) for x in "abc"]
    errors.insert(1, InputError("d.tif", "empty file (0 bytes)", "copy it again"))
    (lone, three), (empty, one) = alike(errors)
    assert (lone.path, three, empty.path, one) == ("a.tif", 3, "d.tif", 1)
    assert str(lone.of_many(3)).startswith("a.tif and 2 more: VV without VH; add a_vh.tif")
    assert empty.of_many(1) is empty
