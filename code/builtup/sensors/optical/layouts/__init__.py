"""How data sets of pictures are laid out: a module a layout, each with `LAYOUT`."""

from __future__ import annotations

from builtup.sensors.optical.layouts.chips import LAYOUT as CHIPS
from builtup.sensors.optical.layouts.dronedeploy import LAYOUT as DRONEDEPLOY
from builtup.sensors.optical.layouts.open_cities import LAYOUT as OPEN_CITIES
from builtup.sensors.optical.layouts.spacenet import LAYOUT as SPACENET
from builtup.sensors.optical.raw_scenes import Layout

__all__ = ["LAYOUTS"]

#: By name; the names stand in the options of the command line too.
LAYOUTS: dict[str, Layout] = {
    "dronedeploy": DRONEDEPLOY,
    "chips": CHIPS,
    "open_cities": OPEN_CITIES,
    "spacenet": SPACENET,
}
