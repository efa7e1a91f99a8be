"""How to go on with what was stopped: the command, as an error of an interrupt or in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.config.load import Config, load
from builtup.runs.going_on import INFERENCE, Interrupted, command, naming_the_way_on


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    path = tmp_path / "mine.py"
    path.write_text("num_epochs = 3\n")
    return load(path)


def test_the_command_is_that_of_who_started_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    path, overrides = Path("configs/train/x.py"), "resume_from=12ab"
    expected = 'builtup train --config_path configs/train/x.py --overrides "resume_from=12ab"'
    assert command(path, overrides) == expected
    assert command(path, overrides, INFERENCE).startswith("builtup infer --config_path")
    assert " --num_gpus 2 " in command("my folder/x.py", overrides, processes=2)
    assert "'my folder/x.py'" in command("my folder/x.py", overrides)
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    assert "-P script_path=code/scripts/inference.py " in command(path, overrides, INFERENCE)
    assert command(path, overrides) == (
        "mlflow run . --env-manager local -P config_path=configs/train/x.py "
        '-P overrides="resume_from=12ab"'
    )


def test_an_interrupt_names_the_command_where_something_is_saved(
    config: Config, tmp_path: Path
) -> None:
    saved = tmp_path / "last.pt"
    anew = "nothing is saved yet: the same command begins anew"
    with pytest.raises(Interrupted, match=anew), naming_the_way_on(config, "12ab", saved):
        raise KeyboardInterrupt
    saved.touch()
    way = r"go on with: builtup train .*mine\.py .*from=12ab"
    with pytest.raises(Interrupted, match=way), naming_the_way_on(config, "12ab", saved):
        raise KeyboardInterrupt


@pytest.mark.parametrize("error", [SystemExit(143), ValueError("broken")])
def test_another_end_names_it_in_the_log(
    config: Config, tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    saved = tmp_path / "last.pt"
    for exists in (False, True):
        if exists:
            saved.touch()
        with pytest.raises(type(error)), naming_the_way_on(config, "12ab", saved):
            raise error
        assert ("resume_from=12ab" in caplog.text) is exists


def test_a_fold_says_nothing_of_its_own(config: Config, tmp_path: Path) -> None:
    config.override([("validate", "false")])
    with pytest.raises(KeyboardInterrupt) as caught, naming_the_way_on(config, "12ab", tmp_path):
        raise KeyboardInterrupt
    assert not isinstance(caught.value, Interrupted)
