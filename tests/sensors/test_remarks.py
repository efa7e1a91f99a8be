"""What is said of scenes: one line for all that are alike."""

from __future__ import annotations

import logging

import pytest

from builtup.sensors.remarks import Remark, joined, say


def test_files_that_are_alike_share_a_line() -> None:
    remarks = [Remark(f"{i}.tif", "taken as decibels", f"median -{i}") for i in range(10, 30)]
    remarks.append(Remark("other.tif", "its mask counts", doubtful=False))
    assert joined([*remarks, remarks[0]]) == [
        ("10.tif and 19 more: taken as decibels (median -10)", True),
        ("other.tif: its mask counts", False),
    ]


def test_doubts_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        say([Remark("a.tif", "one"), Remark("b.tif", "two", doubtful=False)])
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [("WARNING", "a.tif: one"), ("INFO", "b.tif: two")]
