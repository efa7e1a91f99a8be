"""Who reads a setting: builders and what they use, not replaced functions nor lines that ran."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from builtup.config.reads import Reads

BASE = """
from torch.optim import SGD
lr, momentum, widths, note, doubled, depth = 0.1, 0.9, (1, 2), "", 0, 3
scale = lambda: note
twice = 2 * doubled


class Net:
    size = widths

    def forward(self):
        return depth


def model(kind=momentum):
    return Net(), helper(), scale()


def helper():
    return lr
"""


def reads(*texts: str) -> Reads:
    files = [(Path(f"{i}.py"), ast.parse(text)) for i, text in enumerate(texts)]
    return Reads.of(files, ("model", "optimizer"))


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("lr", True),  # by a function that the builder calls
        ("depth", True),  # by a method of a class that it uses
        ("note", True),  # by a lambda
        ("momentum", False),  # a default was taken when the file was loaded
        ("widths", False),  # and so was a class's attribute
        ("doubled", False),  # and a line of the file
    ],
)
def test_what_builders_do_when_they_are_called_counts(name: str, read: bool) -> None:
    assert reads(BASE).built_with(name) is read


def test_a_function_that_another_file_replaces_reads_nothing() -> None:
    found = reads(BASE, "def model():\n    return depth\n")
    assert found.built_with("depth") and not found.built_with("lr")
    assert found.why_not("note") == ""
    replaced = reads("def model():\n    return lr\n", "lr = 1\ndef model():\n    return 2\n")
    assert replaced.why_not("lr") == ": 1.py has a model() of its own"
    assert replaced.own == {"lr"}


def test_a_name_that_was_used_while_loading_says_so() -> None:
    assert "before overrides" in reads(BASE).why_not("doubled")


def test_what_may_read_anything_reads_everything() -> None:
    assert reads("def model():\n    return globals()['lr']\n").built_with("lr")
    assert reads("from settings import *\n").assigned is None


def test_imported_names_may_be_overridden_and_are_no_settings_of_the_file() -> None:
    found = reads("if True:\n    from settings import lr as rate\n")
    assert "rate" in (found.assigned or ()) and found.own == set()
