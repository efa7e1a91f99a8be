"""How data sets of pictures are laid out: a module for each, or for several of one kind."""

from __future__ import annotations

from builtup.sensors.optical.layouts.chips import LAYOUT as CHIPS
from builtup.sensors.optical.layouts.dronedeploy import LAYOUT as DRONEDEPLOY
from builtup.sensors.optical.layouts.isprs import POTSDAM, VAIHINGEN
from builtup.sensors.optical.layouts.loveda import LAYOUT as LOVEDA
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
    "vaihingen": VAIHINGEN,
    "potsdam": POTSDAM,
    "loveda": LOVEDA,
}
