"""What all tests share: short runs of Hypothesis that repeat themselves, one quiet environment."""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# workers of a cluster start in a tenth of the time
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="builtup-tests-")  # digests of this run only

settings.register_profile(
    "builtup",
    deadline=None,  # two cores, shared: time says nothing
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("builtup")
