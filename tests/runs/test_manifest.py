"""What a run was made from: the data back to its first files, the config as it was logged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from builtup.config.load import load
from builtup.errors import InputError
from builtup.jobs.steps import Job, Step, run_step
from builtup.runs.manifest import (
    DataFile,
    DataManifest,
    DataPlace,
    LoggedConfig,
    git_commit,
    used_data,
    write_config,
)
from builtup.tiles.tile import Tile

FIRST, SECOND = Step("first", 1), Step("second", 3)


def copy(job: Job) -> dict[str, int]:
    job.outputs[0].write_bytes(job.inputs[0].read_bytes() + b"+")
    return {}


def tile(path: Path) -> Tile:
    return Tile("a_0_0", "38SLF_Alpha", "a_{}", "20150101", 0, 0, 8, 8, path)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(step: Step, source: Path, output: Path) -> None:
    job = Job(output.name, (source,), (output,), {"overlap": 32})
    run_step(step, [job], copy, num_workers=1)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene that two steps made: VV, then the 3-band image, then the scene."""
    vv, image, made = (tmp_path / name for name in ("vv.tif", "3b.tif", "scene.tif"))
    vv.write_bytes(b"power")
    make(FIRST, vv, image)
    make(SECOND, image, made)
    return made


def test_a_scene_is_described_back_to_its_first_files(scene: Path) -> None:
    folder = scene.parent
    (folder / "tiles.csv").write_text("path\n")
    manifest = DataManifest.of(folder, [tile(scene)])
    (place,) = manifest.images_and_masks
    assert (place.path, place.step, place.version) == (str(scene), "second", 3)
    assert place.settings == {"overlap": 32}
    (image,) = place.read
    assert (image.name, image.sha256) == ("3b.tif", sha256(folder / "3b.tif"))
    assert image.made_from is not None
    assert [file.name for file in image.made_from] == ["vv.tif"]
    assert [file.name for file in manifest.lists] == ["tiles.csv"]
    digests = [sha256(folder / name) for name in ("3b.tif", "vv.tif")]
    assert list(manifest.digests()) == digests


def test_an_input_that_was_made_anew_since_has_no_known_origin(scene: Path) -> None:
    (scene.parent / "vv.tif").write_bytes(b"longer than before")
    make(FIRST, scene.parent / "vv.tif", scene.parent / "3b.tif")
    (place,) = DataManifest.of(scene.parent, [tile(scene)]).images_and_masks
    assert place.read[0].made_from is None


def test_what_no_step_made_is_hashed(tmp_path: Path) -> None:
    folder = tmp_path / "a_tiles"
    folder.mkdir()
    for name in ("tile_0_0.tif", "tile_0_8.tif"):
        (folder / name).write_text(name)
    (place,) = DataManifest.of(tmp_path, [tile(folder / "tile_0_0.tif")]).images_and_masks
    assert place.path == str(folder) and place.step is None and place.inputs is None
    assert [file.sha256 for file in place.read] == [sha256(p) for p in sorted(folder.iterdir())]


def test_it_is_read_as_it_was_written_and_as_it_was_before_versions(scene: Path) -> None:
    manifest = DataManifest.of(scene.parent, [tile(scene)])
    manifest.write(scene.parent)
    assert DataManifest.read(scene.parent) == manifest
    path = scene.parent / "data_manifest.json"
    values = json.loads(path.read_text())
    assert list(values) == ["version", "folder", "lists", "images_and_masks"]
    keys = ["path", "step", "version", "settings", "inputs", "outputs"]
    assert list(values["images_and_masks"][0]) == keys
    del values["version"]
    path.write_text(json.dumps(values))
    assert DataManifest.read(scene.parent) == manifest
    path.write_text('{"images_and_masks": []}')
    with pytest.raises(InputError, match=r"data_manifest\.json: malformed"):
        DataManifest.read(scene.parent)


def test_scenes_of_other_contents_are_named_wherever_they_lie() -> None:
    def manifest(home: str, **contents: str) -> DataManifest:
        places = (
            DataPlace(path=f"{home}/{name}", files=(DataFile(name=name, sha256=value),))
            for name, value in contents.items()
        )
        return DataManifest(folder=home, images_and_masks=tuple(places))

    before = manifest("here", a="1", b="2", gone="3")
    assert manifest("there", a="1", b="9", new="4").changed_since(before) == ["b"]


def test_what_mlflow_shows_depends_on_tiles_and_contents(scene: Path) -> None:
    manifest = DataManifest.of(scene.parent, [tile(scene)])
    used = used_data([tile(scene)], manifest, "training")
    assert (used.name, used.context) == ("38SLF_Alpha", "training")
    assert used.profile == {"tiles": 1, "cities": ["38SLF_Alpha"], "scenes": ["a_{}"]}
    text = f"a_0_0\n{sha256(scene.parent / '3b.tif')}\n"
    assert used.digest == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert used_data([], manifest, "training").digest != used.digest


def test_a_config_is_logged_with_its_base_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("seed, num_classes, num_epochs = 0, 2, 1\n")
    (tmp_path / "own.py").write_text('base = "base.py"\nnum_epochs = 2\n')
    write_config(load(tmp_path / "own.py", "seed=3"), tmp_path / "run" / "config")
    logged = LoggedConfig.read(tmp_path / "run")
    assert logged.files == ("base.py", "own.py") and logged.overrides == ("seed=3",)
    assert (logged.settings["num_epochs"], logged.settings["seed"]) == (2, 3)


def test_a_config_that_is_not_there_or_damaged_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert LoggedConfig.read(tmp_path) == LoggedConfig() and not caplog.text
    (tmp_path / "config").mkdir()
    LoggedConfig.path(tmp_path).write_text("{")
    assert LoggedConfig.read(tmp_path) == LoggedConfig()
    assert "settings.json: not read" in caplog.text


def test_the_commit_is_one_or_unknown() -> None:
    assert git_commit() == "unknown" or len(git_commit().rstrip("+")) == 40
