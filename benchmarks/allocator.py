"""What it brings that freed memory stays with the process: `python benchmarks/allocator.py`.

A ResNet-34 U-Net on a CPU, forward on windows of 512 and a step of training on crops of 256, with
glibc as a process finds it, as Dask's workers find it (MALLOC_TRIM_THRESHOLD_=65536), and as
builtup sets it. Each side is a process of its own; the sides alternate, round by round.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

TARGET = 1.0
#: Batch and side of what the network is given.
SHAPES = {"forward": (4, 512), "training": (8, 256)}
REPEATS = 5
DASK = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def measure(kind: str, keep: bool) -> dict[str, float]:
    """In a process of its own: median seconds of a pass, and the peak of memory in MB."""
    import segmentation_models_pytorch as smp
    import torch

    from builtup.jobs.allocator import keep_freed_memory

    if keep:
        keep_freed_memory()
    torch.manual_seed(0)
    network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=2)
    network.to(memory_format=torch.channels_last)
    batch, side = SHAPES[kind]
    images = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    passes = {"forward": _forward, "training": _training}[kind](network, images)
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        passes()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[1:]), "megabytes": peak}


def _forward(network, images) -> Callable[[], None]:  # type: ignore[no-untyped-def]
    import torch

    network.eval()

    def run() -> None:
        with torch.inference_mode():
            network(images)

    return run


def _training(network, images) -> Callable[[], None]:  # type: ignore[no-untyped-def]
    import torch

    network.train()
    optimizer = torch.optim.AdamW(network.parameters())
    labels = torch.zeros(len(images), *images.shape[2:], dtype=torch.long)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return run


def _child(kind: str, keep: bool, environment: dict[str, str]) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", kind, *(["--keep"] if keep else [])]
    found = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return dict(json.loads(found.stdout))


def main() -> int:
    """Print a table; 1 where keeping memory is slower than not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=list(SHAPES), help=argparse.SUPPRESS)
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(given.child, given.keep)))
        return 0
    missed = False
    print("| pass | without, beside | ratio | seconds | MB |\n|---|---|--:|--:|--:|")
    for kind in SHAPES:
        sides = {"ours": (True, {}), "glibc": (False, {}), "Dask": (False, DASK)}
        found = [
            {name: _child(kind, *side) for name, side in sides.items()} for _ in range(given.rounds)
        ]
        for name in ("glibc", "Dask"):
            ratios = [r[name]["seconds"] / r["ours"]["seconds"] for r in found]
            pairs = {
                key: " / ".join(
                    f"{statistics.median(r[s][key] for r in found):.{digits}f}"
                    for s in (name, "ours")
                )
                for key, digits in (("seconds", 2), ("megabytes", 0))
            }
            ratio = statistics.median(ratios)
            missed |= ratio < TARGET
            spread = f"{ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
            print(f"| {kind} | {name} | {spread} | {pairs['seconds']} | {pairs['megabytes']} |")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
