"""Maps of buildings and settlements from Sentinel-1 radar.

The rooms stand in one stair, each using only those before it: `errors`, `text_table`, `logs`,
`options`, `jobs`, `config`, `geo`, `sensors`, `simulate`, `models`, `tiles`, `data`, `runs`,
`scoring`, `training`, `maps`, `prediction`, `studies`, `report`, `demo`, `cli`.
docs/architecture.md is the tour.
"""

import os as _os

__version__ = "0.1.0"

# MLflow would report its use over the network; whoever wants that sets this to false
_os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
