from __future__ import annotations

import pytest

from builtup.jobs.retries import Retries


class Failing:
    """Fails with each of `errors` in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def is_busy(e: Exception) -> bool:
    return "busy" in str(e)


def test_it_waits_longer_each_time_and_tells_why(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    action = Failing(OSError("busy\nnow"), OSError("busy"))
    assert Retries((1.0, 2.0, 4.0), waits.append).call(action, is_busy, "s3://a") == "done"
    assert waits == [1.0, 2.0]
    assert action.calls == 3
    assert [record.message for record in caplog.records] == [
        "s3://a: busy now; again in 1 s",
        "s3://a: busy; again in 2 s",
    ]


def test_the_error_of_the_last_try_is_raised() -> None:
    waits: list[float] = []
    errors = [OSError(f"busy {number}") for number in range(3)]
    with pytest.raises(OSError, match="busy 2"):
        Retries((1.0, 2.0), waits.append).call(Failing(*errors), is_busy, "a")
    assert waits == [1.0, 2.0]


def test_what_does_not_pass_is_raised_at_once() -> None:
    action = Failing(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        Retries(sleep=lambda seconds: pytest.fail("waits")).call(action, is_busy, "a")
    assert action.calls == 1


def test_without_delays_there_is_one_try() -> None:
    with pytest.raises(OSError, match="busy"):
        Retries(()).call(Failing(OSError("busy")), is_busy, "a")


def test_its_reason_may_be_said_in_other_words(caplog: pytest.LogCaptureFixture) -> None:
    retries = Retries((0.0,))
    retries.call(Failing(OSError("busy?key=secret")), is_busy, "a", lambda e: "busy")
    assert "secret" not in caplog.text
