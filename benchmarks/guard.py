"""A guard for changes that must not change a result: the whole chain, listed by sha256.

    python benchmarks/guard.py --code <checkout of the commit before> --output before.txt
    python benchmarks/guard.py --against before.txt [--keep <folder>]

Runs every step on two simulated cities and on the real scenes, trains for some iterations on one
thread with fixed seeds, maps, scores, reports, traces, averages, predicts, cross-validates and
compares (guard_chain.py), and lists what comes out (guard_forms.py says how): `sha256  path`, by
path. Two runs of one commit on one machine give the same list, whenever and wherever. Training and
networks depend on the processor and on the versions named at the top of a list: elsewhere, list
that commit anew first, with `--code`. With `--keep` the texts that were hashed lie in
<folder>/compared, where `diff -r` of two such folders shows what differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import rasterio
import torch
from guard_chain import Chain, studies, whole_chain
from guard_forms import Names, forms, raw_sha256, runs

HERE = Path(__file__).resolve()
PARTS: Mapping[str, Callable[[Chain], None]] = {"chain": whole_chain, "studies": studies}
#: What is not listed: memories of libraries, and what is only read.
LEFT_OUT = ("cache/", "real/", "footprints/")


def run_parts(code: Path, data: Path, root: Path) -> None:
    """Run the parts beside each other, each in a folder of its own below `root`."""
    failed: list[BaseException] = []

    def run(name: str) -> None:
        chain = Chain(root / name, code)
        try:
            chain.start()
            if name == "chain":
                shutil.copytree(data / "real_s1", chain.folder / "real")
                shutil.copytree(data / "footprints", chain.folder / "footprints")
            PARTS[name](chain)
        except BaseException as e:  # noqa: BLE001 (raised below)
            failed.append(e)
        finally:
            chain.stop()

    threads = [threading.Thread(target=run, args=[name]) for name in PARTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def listed(folder: Path, code: Path, compared: Path) -> dict[str, str]:
    """sha256 of the text of each file that a part left, by path; the texts go into `compared`."""
    names = Names({str(folder): "<work>", str(code): "<code>"})
    names.run_ids = runs(folder / "output" / "mlflow.db")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=code, capture_output=True, text=True)
    if head.stdout.strip():
        names.folders[head.stdout.strip()] = "<commit>"
    shown = {
        path: names.text(str(path.relative_to(folder)))
        for path in folder.rglob("*")
        if path.is_file()
    }
    files = sorted((name, path) for path, name in shown.items() if not name.startswith(LEFT_OUT))
    for name, path in reversed(files):
        names.digests[raw_sha256(path)] = name
    found = {}
    for name, path in files:
        for ending, text in forms(path, names):
            target = compared / f"{name}{ending}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            found[f"{folder.name}/{name}{ending}"] = digest
    return found


def machine() -> str:
    """What a list depends on besides the code, as a comment."""
    versions = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "rasterio": rasterio.__version__,
        "GDAL": rasterio.__gdal_version__,
    }
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"# {platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {said}"


def read_list(path: Path) -> tuple[str, dict[str, str]]:
    """The comment and the sha256 by path of a list."""
    comment, *lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("  ", 1) for line in lines]
    return comment, {name: digest for digest, name in pairs}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """A line for each path that is gone, new, or has another content."""
    gone = [f"gone     {name}" for name in sorted(before.keys() - after.keys())]
    new = [f"new      {name}" for name in sorted(after.keys() - before.keys())]
    both = sorted(before.keys() & after.keys())
    return gone + new + [f"differs  {name}" for name in both if before[name] != after[name]]


def main() -> None:
    """Run, list, compare; exit status 1 where something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--code", type=Path, default=HERE.parents[1], help="the checkout to run")
    parser.add_argument("--output", type=Path, help="where the list goes")
    parser.add_argument("--against", type=Path, help="a list to compare with")
    parser.add_argument("--keep", type=Path, help="a new folder for all that comes out")
    options = parser.parse_args()
    data = HERE.parents[1] / os.environ.get("BUILTUP_DATA", "../shared/data")
    if not (data / "real_s1").is_dir():
        sys.exit(f"{data}: no real_s1 in it; set BUILTUP_DATA")
    if not (options.output or options.against):
        sys.exit("give --output, --against, or both")
    code = options.code.resolve()
    with tempfile.TemporaryDirectory(prefix="guard-") as temporary:
        root = (options.keep or Path(temporary)).resolve()
        run_parts(code, data, root)
        found = {}
        for name in PARTS:
            found |= listed(root / name, code, root / "compared" / name)
    if options.output:
        lines = [machine(), *(f"{digest}  {name}" for name, digest in sorted(found.items()))]
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.against:
        comment, before = read_list(options.against)
        if comment != machine():
            print("made elsewhere:", comment, machine(), sep="\n  ")
        changed = differences(before, found)
        print(*changed, f"{len(changed)} of {len(before)} differ", sep="\n")
        sys.exit(1 if changed else 0)


if __name__ == "__main__":
    main()
