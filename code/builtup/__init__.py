"""Maps of buildings and settlements from radar and from the air.

The rooms stand in one stair, each using only those before it: `errors`, `text_table`, `logs`,
`options`, `jobs`, `config`, `geo`, `sensors`, `simulate`, `models`, `tiles`, `data`, `runs`,
`scoring`, `training`, `maps`, `prediction`, `studies`, `report`, `demo`, `api`, `cli`.
docs/architecture.md is the tour. What the package itself offers (`from builtup import predict`)
stands in `api`; docs/api.md shows it in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time a name is imported when it is first asked for (PEP 562)
    from builtup.api import (
        CityMap,
        Maps,
        Run,
        Scores,
        infer,
        inspect,
        polygonize,
        predict,
        prepare,
        to_submission,
        train,
        validate,
        write_report,
    )
    from builtup.errors import BuiltupError
    from builtup.options import PolygonOptions
    from builtup.prediction.predict import PredictOptions
    from builtup.prediction.recipe import Recipe

__all__ = [
    "BuiltupError",
    "CityMap",
    "Maps",
    "PolygonOptions",
    "PredictOptions",
    "Recipe",
    "Run",
    "Scores",
    "__version__",
    "infer",
    "inspect",
    "polygonize",
    "predict",
    "prepare",
    "to_submission",
    "train",
    "validate",
    "write_report",
]

import os as _os

__version__ = "0.1.0"

# MLflow would report its use over the network; whoever wants that sets this to false
_os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

#: What stands elsewhere than in `api`.
_ELSEWHERE = {
    "BuiltupError": "builtup.errors",
    "PolygonOptions": "builtup.options",
    "PredictOptions": "builtup.prediction.predict",
    "Recipe": "builtup.prediction.recipe",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_ELSEWHERE.get(name, "builtup.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
