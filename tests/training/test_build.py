"""What a training is built from: the threshold that one on everything takes from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from builtup.config.launch import run_script
from builtup.config.load import load
from builtup.errors import ConfigError, InputError
from builtup.runs import tracking
from builtup.runs.recorder import recording
from builtup.runs.study_records import CrossValidation
from builtup.training.build import build_data, build_learner, classes_of
from builtup.training.checkpoints import load_state, load_trained
from helpers import ROOT
from tiny_folds import enter, write_cities, write_config
from tiny_training import write_tiny

SCRIPT = ROOT / "code" / "scripts" / "training.py"


def record(folder: Path, thresholds: dict[str, float]) -> None:
    folds = tuple({"fold": fold, "threshold": value} for fold, value in thresholds.items())
    CrossValidation(folds=folds).write(folder)


@pytest.fixture
def cities(tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(database, monkeypatch)
    write_config(tmp_path, write_cities(tmp_path))
    return tmp_path / "tiny.py"


def test_the_newest_cross_validation_of_a_config_gives_it(cities: Path) -> None:
    names = ("38SAA_Alpha", "38SBB_Beta", "38SCC_Gamma")
    with recording("Trainings", "cross-validation of tiny") as recorder:
        recorder.tags({"cross_validation_of": "tiny"})
        record(recorder.folder / "cross_validation", dict.fromkeys(names, 0.3))
    overrides = "val_fold=none validate=false threshold_from=tiny num_epochs=1"
    run_script(SCRIPT, cities, 1, overrides)
    run = tracking.newest_run("Trainings", config="tiny")
    trained = load_trained(run.info.run_id, "last")
    assert trained.threshold == pytest.approx(0.3)
    folder = tracking.artifact_folder(run)
    assert folder is not None
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["threshold_tuned_on"] == list(names)
    assert summary["inherited_threshold"]["source"] == recorder.run_id


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "val_fold=none validate=false threshold_from=nobody",
            "no finished cross-validation of a config",
        ),
        ("val_fold=0 validate=false threshold_from=tiny", "is for a training on all data"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(
    cities: Path, overrides: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run_script(SCRIPT, cities, 1, overrides)


def test_a_loader_that_knows_no_folds_is_refused_in_one_line(
    cities: Path, tmp_path: Path, database: Path
) -> None:
    record(tmp_path / "scored", {"38SAA_Alpha": 0.2})
    text = (
        cities.read_text()
        + """

class NoFolds:
    val_fold = None

    def __len__(self):
        return 1


def train_loader():
    return NoFolds()
"""
    )
    cities.write_text(text)
    overrides = f"val_fold=none validate=false threshold_from={tmp_path / 'scored'}"
    with pytest.raises(ConfigError, match="held out other ground"):
        run_script(SCRIPT, cities, 1, overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def lr_scheduler(optimizer):\n"
            "    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)\n",
            r"lr_scheduler\(\): ReduceLROnPlateau needs metrics at every step",
        ),
        ("def lr_scheduler(optimizer):\n    return 3\n", r"int has no step\(\)"),
        ("def criterion():\n    return print\n", r"criterion\(\) returned .*, not a torch Module"),
        ("def optimizer(model):\n    return None\n", "NoneType, not a torch Optimizer"),
        ("def model():\n    return None\n", r"model\(\) returned NoneType, not a torch Module"),
        (
            "def optimizer(model):\n    return torch.optim.Adam(model.parameters(), lr='x')\n",
            r"tiny\.py: line \d+: optimizer\(\): ",
        ),
    ],
)
def test_what_a_builder_gives_or_raises_is_judged_before_the_first_step(
    towns: Path, text: str, message: str
) -> None:
    path = write_config(towns, towns / "tiles")
    path.write_text(f"{path.read_text()}\n\n{text}")
    config = load(path)
    with pytest.raises(ConfigError, match=message) as caught:
        build_learner(config, build_data(config))
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("towns")
    write_cities(root)
    return root


HEADS = """

from builtup.models.heads import On, SmoothL1
from builtup.models.small import SmallUNet

heads, alpha, unknown = ("height",), 0.5, 20


class WithHeight(Towns):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample["height"] = 6.0 * (sample["mask"] == 1)[None]
        if index % 2:
            sample["height"][:, :unknown] = float("nan")
        return sample


def model():
    network = SmallUNet(3, 2, (4, 8), heads=heads)
    return Segmenter(Channels("db_3b", (-20.0,) * 3, (6.0,) * 3), with_norm(network, "group"))


def train_loader():
    import ignite.distributed as idist
    from torch.utils.data import Subset

    size, rank = idist.get_world_size(), idist.get_rank()
    data = Subset(WithHeight(samples, 0), range(rank, samples, size))
    return DataLoader(data, batch_size // size)


def criterion():
    loss = CrossEntropy()
    return loss + alpha * On("height", "height", SmoothL1()) if alpha else loss
"""


def test_two_processes_train_heads_as_one_does(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all known heights of both, of which one has fewer; and the log shows the terms."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path = write_tiny(tmp_path, "\nfrom builtup.models.norms import with_norm\n" + HEADS)
    options = "num_epochs=2 samples=8 accumulation_steps=2 log_predictions=0 log_interval=1"
    found = []
    for processes in (1, 2):
        run_script(SCRIPT, path, processes, options)
        run = tracking.find_run(tracking.last_run_id())
        curves = {
            name: [p.value for p in tracking.client().get_metric_history(run.info.run_id, name)]
            for name in ("train/loss", "train/classes", "train/height")
        }
        weights = load_state(tracking.run_artifacts(run.info.run_id) / "weights" / "last.pt")
        found.append((curves, weights))
    (one, ours), (two, theirs) = found
    for name, values in one.items():
        assert len(values) == 4 and two[name] == pytest.approx(values, rel=1e-4)
    expected = [c + 0.5 * h for c, h in zip(one["train/classes"], one["train/height"], strict=True)]
    assert one["train/loss"] == pytest.approx(expected)
    for key, value in ours.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("alpha=0", r"head height of the network has no loss; add On\('height', …\)"),
        ("heads=()", r"the network has the heads classes; add it to `heads`"),
    ],
)
def test_heads_and_losses_that_do_not_fit_are_refused_before_a_step(
    project: Path, tmp_path: Path, overrides: str, message: str
) -> None:
    path = write_tiny(tmp_path, "\nfrom builtup.models.norms import with_norm\n" + HEADS)
    with pytest.raises(ConfigError, match=message):
        run_script(SCRIPT, path, 1, overrides)


def test_many_classes_without_data_that_name_them_say_where_data_are_missing(
    tmp_path: Path,
) -> None:
    source = "num_classes = 6\ndata_path = 'nowhere'\n"
    (tmp_path / "six.py").write_text(source)
    with pytest.raises(InputError, match="nowhere: no tiles with statistics there that name 6"):
        classes_of(load(tmp_path / "six.py"))
