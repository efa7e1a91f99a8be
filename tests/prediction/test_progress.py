"""One bar for all that is predicted; quiet where it shall be."""

from __future__ import annotations

import pytest

from builtup.prediction import progress as module
from builtup.prediction.progress import progress


def test_it_counts_megapixels_and_is_silent_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = []
    real = module.tqdm

    def kept(*arguments: object, **options: object) -> object:
        bars.append(real(*arguments, **options))
        return bars[-1]

    monkeypatch.setattr(module, "tqdm", kept)
    with progress("predict", 3_000_000) as advance:
        advance(1_000_000)
        advance(500_000)
    assert bars[0].total == 3.0
    with progress("predict", 0, quiet=True) as advance:
        advance(0)
    assert all(bar.disable for bar in bars)
    assert capsys.readouterr().err == ""
