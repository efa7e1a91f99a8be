"""One measurement in a process of its own: `python child.py FILE.py '{"key": value}'`.

FILE.py is imported (its imports are not measured), `load(**arguments)` builds what stands before
the work (a model, an index; not measured), then `run(state)` or, without `load`, `run(**arguments)`
does the work and returns a dict with `work`, the amount done in the case's unit, and perhaps
`facts`, what else is to be recorded. The last line on stdout is JSON: seconds, work, memory, facts,
versions. BENCHMARK_MEMORY, in bytes, bounds what the process may allocate: one that wants more gets
an error, and the machine is not driven out of memory. Only the standard library is used here,
because the same file runs in the environments of the peers.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from types import ModuleType

#: Modules whose versions are recorded, and the distributions they come in.
PACKAGES = {
    "builtup": "builtup", "rasterio": "rasterio", "numpy": "numpy", "torch": "torch",
    "torchgeo": "torchgeo", "monai": "monai", "pyogrio": "pyogrio", "shapely": "shapely",
    "terratorch": "terratorch", "pytorch_toolbelt": "pytorch-toolbelt", "geoai": "geoai-py",
    "samgeo": "segment-geospatial", "geopandas": "geopandas",
}  # fmt: skip


def main() -> None:
    """Measure the file named by the first argument, with the arguments of the second."""
    path, arguments = Path(sys.argv[1]), json.loads(sys.argv[2])
    _limit_memory()
    module = _import(path)
    load = getattr(module, "load", None)
    state = load(**arguments) if load else None
    before = _status_mb("VmRSS")
    reset = _reset_peak()
    busy, started = _cpu_seconds(), time.perf_counter()
    result = module.run(state) if load else module.run(**arguments)
    seconds, busy = time.perf_counter() - started, _cpu_seconds() - busy
    peak = _status_mb("VmHWM") if reset else _maxrss_mb(resource.RUSAGE_SELF)
    memory = max(peak - before, _children_mb())
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": busy,
                "work": float(result["work"]),
                "memory_mb": memory,
                "loaded_mb": before,
                "facts": result.get("facts", {}),
                "versions": _versions() | result.get("versions", {}),
            }
        )
    )


def _limit_memory() -> None:
    """Bound the data of this process and its children; what is mapped read-only is not counted."""
    limit = os.environ.get("BENCHMARK_MEMORY")
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: not a Python file")
    sys.path.insert(0, str(Path(__file__).parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _status_mb(field: str) -> float:
    """A size of this process from /proc, in MB (10⁶ bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise SystemExit(f"/proc/self/status has no {field}: the benchmarks need Linux")


def _reset_peak() -> bool:
    """Let VmHWM start again at the present size; False where the kernel refuses."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _cpu_seconds() -> float:
    """CPU time of this process, all its threads, and its ended children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _maxrss_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss * 1024 / 1e6


def _children_mb() -> float:
    """Peak of the largest child process; one that is no larger than Python itself counts 0."""
    peak = _maxrss_mb(resource.RUSAGE_CHILDREN)
    return peak if peak > _maxrss_mb(resource.RUSAGE_SELF) else 0.0


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for module, name in PACKAGES.items():
        if module in sys.modules:
            found[name] = importlib.metadata.version(name)
    rasterio = sys.modules.get("rasterio")
    if rasterio is not None:
        found["gdal"] = rasterio.__gdal_version__
    return found


if __name__ == "__main__":
    main()
