"""Maps of buildings and settlements from Sentinel-1 radar.

The rooms stand in one stair, each using only those before it: `errors`, `text_table`, `logs`,
`options`, `jobs`, `config`, `geo`, `sensors`, `simulate`, `models`, `tiles`, `data`, `runs`,
`scoring`, `training`, `maps`, `prediction`, `studies`, `report`, `demo`, `cli`.
docs/architecture.md is the tour.
"""

__version__ = "0.1.0"
