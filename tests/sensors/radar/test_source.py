from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from builtup.errors import BuiltupError
from builtup.geo.locations import Allow
from builtup.geo.windows import Window
from builtup.sensors.radar.source import RadarSource
from builtup.sensors.source import Headers, Scene, SceneSource
from helpers import speckle, write_scene


def test_radar_scenes_are_found_judged_and_read(tmp_path: Path) -> None:
    vv, vh = speckle((40, 50), 0.1, 1), speckle((40, 50), 0.02, 2)
    vv[:5] = np.nan
    write_scene(tmp_path / "test", "Alpha_2015", "38SLF", "20150101", vv=vv, vh=vh)
    source: SceneSource = pickle.loads(pickle.dumps(RadarSource("POWER")))
    assert source.settings == {"units": "power"}
    (scene,) = source.find(str(tmp_path / "test"), Allow()).scenes
    (headers,) = source.read_each([scene])
    known: Headers = source.judged(headers)
    of: Scene = known.scene
    assert (of.plain_id, of.date) == ("s1a_38SLF_ASC_20150101", "20150101")
    assert known.grid.shape == (40, 50) and len(known.files) == 2 and known.sampled
    cache = source.cache_bytes(known, 32)
    with source.within(known, "", cache) as read:
        values = read(Window(0, 0, 40, 50))
    assert np.isnan(values[:, :5]).all()
    np.testing.assert_array_equal(values[:, 5:], np.stack([vh, vv])[:, 5:])
    with source.within(known, "0,0,1,1", cache) as read:  # degrees, far from the scene
        assert np.isnan(read(Window(0, 0, 40, 50))).all()


def test_unknown_units_are_refused() -> None:
    with pytest.raises(BuiltupError, match="units=acres: unknown"):
        RadarSource("acres")
