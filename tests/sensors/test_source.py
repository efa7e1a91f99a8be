from __future__ import annotations

import pytest

from builtup.prediction.image_source import ImageSource
from builtup.sensors.radar.source import RadarSource
from builtup.sensors.source import SceneSource

MEMBERS = {name for name in vars(SceneSource) if not name.startswith("_")}


@pytest.mark.parametrize("of", [RadarSource, ImageSource])
def test_a_sensor_s_source_has_all_that_predict_asks(of: type) -> None:
    assert {"settings", "find", "read_each", "judged", "cache_bytes", "within"} == MEMBERS
    assert all(hasattr(of, name) for name in MEMBERS)
