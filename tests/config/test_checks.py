"""Overrides and settings that nothing reads, and values that make no sense, in one line each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builtup.config.load import check_overrides, load
from builtup.errors import ConfigError
from helpers import ROOT

TRAIN = ROOT / "configs" / "train"
BASE = """
seed, num_classes, num_epochs, lr, crop = 1, 2, 5, 0.1, 32
class_weights, scale, ema_decay, widths = (1.0, 2.0), (0.7, 1.0), 0.9, (4, 8)
pretrained = False


def model():
    return lr, crop, class_weights, scale, widths, pretrained
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.py"
    path.write_text(BASE)
    return path


@pytest.mark.parametrize("name", ["architecture=unet", "encoder=resnet34", "pretrained=true"])
def test_an_override_that_only_a_replaced_function_reads_is_refused(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"override {name}: nothing reads it .*recommended_cpu\.py has a model"
    ):
        load(TRAIN / "recommended_cpu.py", name)
    assert load(TRAIN / "baseline_lwrefinenet.py", name)


def test_a_setting_of_the_file_that_only_a_replaced_function_reads_is_refused(base: Path) -> None:
    child = base.with_name("child.py")
    child.write_text('base = "base.py"\ncrop = 64\n\ndef model():\n    return lr\n')
    with pytest.raises(ConfigError, match=r"child\.py: setting crop: nothing reads it"):
        load(child)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=-1", r"lr = -1\.0: expected 0 or more"),
        ("lr=nan", "lr = nan: expected 0 or more"),
        ("lr=inf", "lr = inf: expected 0 or more"),
        ("seed=-1", "seed = -1: expected a number from 0 to"),
        ("num_classes=1", "num_classes = 1: expected a number from 2 to 254"),
        ("crop=0", "crop = 0: expected 1 or more"),
        ("ema_decay=1.5", r"ema_decay = 1\.5: expected 0 or more, below 1"),
        ("ema_decay=1", "below 1"),
        ("clip_grad_norm=0", "expected a number above 0"),
        ("soup=1", "soup = 1: expected 0, or 2 or more"),
        ("scale=(0.7,)", "expected two numbers above 0, the smaller first"),
        ("scale=(1.0,0.5)", "the smaller first"),
        ("class_weights=(0,0)", "one of them above 0"),
        ("class_weights=(1,-1)", "expected 0 or more, each"),
        ("widths=(4,0)", "expected 1 or more, each"),
    ],
)
def test_a_senseless_value_is_one_line(base: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(base, override)
    assert "\n" not in str(caught.value) and str(base) in str(caught.value)


def test_a_value_of_another_kind_than_a_number_is_not_judged(base: Path) -> None:
    path = base.with_name("kinds.py")
    path.write_text("temperature, crop = 'run', None\ndef model():\n    return crop\n")
    assert load(path).temperature == "run"


def test_an_override_that_the_script_does_not_read_is_refused(base: Path) -> None:
    load(base, "tta=d4 validate=false").require_read("training")  # cross_validate will
    with pytest.raises(ConfigError, match=r"override tta=d4: this training does not read it"):
        load(base, "tta=d4").require_read("training")
    with pytest.raises(ConfigError, match=r"override num_epochs=3: this inference does not"):
        load(base, "num_epochs=3").require_read("inference")
    load(base, "num_epochs=3 lr=1").require_read("training")


def test_settings_that_nothing_reads_are_not_shown() -> None:
    shown = load(TRAIN / "recommended_cpu.py").read_settings()
    assert {"lr", "widths", "num_epochs"} <= shown.keys()
    assert not {"architecture", "encoder", "pretrained", "momentum"} & shown.keys()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("num_epoch=3", "num_epochs"),
        ("architecture=unet", "nothing reads it"),
        ("num_epochs=many", "an integer"),
    ],
)
def test_a_wrong_override_is_found_before_anything_of_the_config_runs(
    base: Path, override: str, message: str
) -> None:
    path = base.with_name("heavy.py")
    text = "raise RuntimeError('it ran')\nnum_epochs, architecture = 3, ''\n"
    path.write_text(text + "def model():\n    return 1\n")
    with pytest.raises(ConfigError, match=message):
        check_overrides(path, override)


def test_the_command_line_finds_a_wrong_override_without_torch() -> None:
    code = (
        "import sys; from builtup.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    print(e.code, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "main", "--overrides", "num_epoch=3"),
            *("--config_path", str(TRAIN / "recommended_cpu.py")),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "code"), "PATH": ""},
    )
    assert done.stdout.split() == ["1", "False"]
    assert "mean num_epochs" in done.stderr
