"""Where the images of a report come from."""

from __future__ import annotations

import json
import logging

import pytest

from builtup.errors import InputError
from builtup.report.image_source import find_images, scene_title
from builtup.runs.results import Results
from builtup.tiles.cut import generate_tiles
from report_data import add_city


def tiles(maps, target, materialize):
    generate_tiles(
        input_path=maps.images,
        output_path=target,
        tile_size=64,
        overlap=8,
        materialize=materialize,
        num_workers=1,
    )
    return target


def settings(maps, data_path):
    (maps.folder / "config").mkdir(exist_ok=True)
    text = json.dumps({"settings": {"data_path": str(data_path)}})
    (maps.folder / "config" / "settings.json").write_text(text)


def test_scenes_are_found_below_the_folder_that_is_given(tmp_path):
    maps = add_city(tmp_path)
    found = find_images(Results(maps.folder), str(maps.images))
    assert [scene.date for scene in found["38SLF_Alpha"]] == ["20150101", "20150201"]
    assert all(len(scene.paths) == 1 for scene in found["38SLF_Alpha"])


@pytest.mark.parametrize(("materialize", "files"), [(True, 4), (False, 1)])
def test_the_predicted_tiles_are_found_by_the_config_beside_the_predictions(
    tmp_path, materialize, files
):
    maps = add_city(tmp_path)
    settings(maps, tiles(maps, tmp_path / "tiles", materialize))
    scenes = find_images(Results(maps.folder))["38SLF_Alpha"]
    assert [len(scene.paths) for scene in scenes] == [files, files]


def test_nothing_known_is_a_warning_and_no_image(tmp_path, caplog):
    maps = add_city(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert find_images(Results(maps.folder)) == {}
    assert "give images_path" in caplog.text
    settings(maps, tmp_path / "gone")
    with caplog.at_level(logging.WARNING):
        assert find_images(Results(maps.folder)) == {}
    assert "gone: no such folder" in caplog.text


def test_a_given_folder_without_images_is_refused(tmp_path):
    maps = add_city(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        find_images(Results(maps.folder), str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"no 3-band scenes and no tiles\.csv"):
        find_images(Results(maps.folder), str(maps.truth))


def test_scene_ids_are_read_out():
    assert scene_title("s1a_38SLF_{}_ASC_20151005_1") == "S1A ASC 2015-10-05"
    assert scene_title("anything") == "anything"
