from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from builtup.errors import FileError, GridError, InputError, OutputError, one_line


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
