"""The record beside pseudo-labels: what a training reads of their teacher, and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builtup.config import load as configs
from builtup.errors import ConfigError, InputError, LeakageError
from builtup.tiles.stats import generate_tiles_stats
from builtup.training.build import Data, build_data
from builtup.training.learnt_ground import LearntGround
from builtup.training.pseudo_record import PseudoRecord
from tile_data import add_scene, moved, tile_all
from tiny_folds import town, write_cities, write_config

ALPHA, BETA, GAMMA = "38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma"
LESSON = """

from builtup.training.lessons import Lesson

pseudo_path = "{pseudo}"


def lessons(model):
    loader = loaders.train_loader(pseudo_path, val_fold=None, batch_size=4, crop=32, seed=1)
    return [Lesson("pseudo", loader, CrossEntropy())]
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tiles of three cities with labels, and of the first and a fourth with another's."""
    labelled, pseudo = (tmp_path_factory.mktemp(name) for name in ("labelled", "pseudo"))
    tiles = write_cities(labelled)
    for number, (city, tile) in enumerate((("Alpha", "38SAA"), ("Delta", "38SDD"))):
        image, mask = town((96, 96), 40 + number)
        place = moved(2000 * 3 * number, 0)
        add_scene(pseudo, f"{city}_2015", tile, image=image, mask=mask, transform=place)
    others = tile_all(pseudo, size=48, overlap=8)
    generate_tiles_stats(input_path=others, output_path=others, folds="city", num_workers=1)
    return tiles, others


def build(tmp_path: Path, folders: tuple[Path, Path], fold: str) -> Data:
    path = write_config(tmp_path, folders[0])
    path.write_text(path.read_text() + LESSON.replace("{pseudo}", str(folders[1])))
    return build_data(configs.load(path, f"val_fold={fold}"))


def teacher(folders: tuple[Path, Path], *cities: str) -> None:
    PseudoRecord(
        teacher="run0", mode="hard", learnt=LearntGround(folds=cities, named=cities)
    ).write(folders[1])


def test_a_student_cannot_hold_out_ground_that_its_teacher_has_learnt_from(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    teacher(folders, BETA)
    message = (
        rf"run run0, the teacher of the pseudo-labels in {folders[1]}, has learnt from {BETA}, "
        "which this run holds out"
    )
    with pytest.raises(LeakageError, match=message) as caught:
        build(tmp_path, folders, BETA)
    assert "\n" not in str(caught.value)


def test_held_out_ground_that_was_pseudo_labelled_is_transductive(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    teacher(folders, BETA)
    data = build(tmp_path, folders, ALPHA)
    assert data.learnt.transductive == (ALPHA, "38SDD_Delta")
    assert data.learnt.folds == (BETA, GAMMA)  # what its teacher learnt from is learnt, too
    assert data.learnt.held_out == ALPHA
    assert [lesson.name for lesson in data.lessons] == ["pseudo"]


def test_a_teacher_of_which_nothing_is_known_is_said(
    tmp_path: Path, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    PseudoRecord(teacher="gone", mode="hard").write(folders[1])
    data = build(tmp_path, folders, ALPHA)
    assert (
        "what the teacher of its pseudo-labels (gone) has learnt from is not known" in caplog.text
    )
    assert data.learnt.unknown  # and of whoever it teaches


def test_of_a_teacher_known_in_part_that_part_is_refused(
    tmp_path: Path, folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    learnt = LearntGround(folds=(BETA,), named=(BETA,), unknown=True)
    PseudoRecord(teacher="run0,gone", mode="hard", learnt=learnt).write(folders[1])
    assert build(tmp_path, folders, ALPHA).learnt.unknown
    assert "(run0,gone) has learnt from is not all known" in caplog.text
    with pytest.raises(LeakageError, match=f"has learnt from {BETA}"):
        build(tmp_path, folders, BETA)


def test_a_loss_that_asks_the_average_is_refused_without_one(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    """Before the first step, not at the fifth."""
    teacher(folders, BETA)
    path = write_config(tmp_path, folders[0])
    lesson = LESSON.replace("{pseudo}", str(folders[1])).replace(
        "CrossEntropy()", "SoftLesson(ema=0.5)"
    )
    lesson = lesson.replace(
        "import Lesson\n", "import Lesson\nfrom builtup.training.soft import SoftLesson\n"
    )
    path.write_text(path.read_text() + lesson)
    with pytest.raises(ConfigError, match=r"lesson pseudo asks the moving average.*set ema_decay"):
        build_data(configs.load(path, f"val_fold={ALPHA} ema_decay=none"))
    assert build_data(configs.load(path, f"val_fold={ALPHA} ema_decay=0.9")).lessons


def test_a_lesson_of_labels_teaches_ground_that_may_not_be_held_out(
    tmp_path: Path, folders: tuple[Path, Path]
) -> None:
    (folders[1] / PseudoRecord.NAME).unlink(missing_ok=True)
    data = build(tmp_path, folders, BETA)
    assert set(data.learnt.folds) == {ALPHA, GAMMA, "38SDD_Delta"}
    assert not data.learnt.transductive


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = PseudoRecord(
        teacher="run0", inference="run1", mode="soft", source="city", threshold=0.4, scenes=2,
        learnt=LearntGround(folds=(BETA,)), kept=0.9, quality={"pooled": {"f1": 0.8}},
    )  # fmt: skip
    record.write(tmp_path)
    assert PseudoRecord.read(tmp_path) == record
    (tmp_path / PseudoRecord.NAME).write_text(json.dumps({"learnt": 3}))
    with pytest.raises(InputError, match="no record of pseudo-labels"):
        PseudoRecord.read(tmp_path)
