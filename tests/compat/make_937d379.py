"""Make `written_by_937d379.tar.xz`: a small project as commit 937d379 left it on disk.

    git worktree add ../at-937d379 937d379
    python tests/compat/make_937d379.py ../at-937d379

Runs that checkout's code by its command line in `/builtup-937d379` (a folder that must not exist
yet; it is removed again): scenes of two training cities and of a test city with two dates, the data
steps, a training, its inferences with their maps and scores, a prediction, a cross-validation. The
archive holds what the steps, inferences and studies read again, `mlflow.db` among it, and
`mtimes.json` (nanoseconds by path), as manifests compare times to the nanosecond. Pictures and
exported programs, which nothing reads, are left out. `tests/compat/unpacked.py` puts it elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyogrio.raw
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

COMMIT = "937d379"
ROOT = Path("/builtup-937d379")
ARCHIVE = Path(__file__).with_name(f"written_by_{COMMIT}.tar.xz")
#: Pixels of a scene's side.
SIZE = 80
#: Files and folders that nothing reads again.
LEFT_OUT = {"code", "report.html", "reliability.png", "curves", "models", "products"}
TRAINING = (
    "device=cpu num_workers=0 widths=(4,4,4,4) batch_size=4 samples_per_epoch=96 crop=32 "
    "num_epochs=2 val_interval=1 lr=0.02 log_predictions=0"
)


def main() -> None:
    """Build the project, then pack it."""
    checkout = Path(sys.argv[1]).resolve()
    ROOT.mkdir()
    try:
        training = build(checkout)
        reduce_database(ROOT / "output" / "mlflow.db")
        pack(training)
    finally:
        shutil.rmtree(ROOT)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size:,} bytes")


# --- what is made -------------------------------------------------------------------------------


def build(checkout: Path) -> str:
    """Write the scenes, and run every step once; return the id of the training's run."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD", "--absolute-git-dir"],
        cwd=checkout,
        check=True,
        capture_output=True,
        text=True,
    )
    commit, git_folder = git.stdout.split()
    if not commit.startswith(COMMIT):
        sys.exit(f"{checkout}: is at {commit[:7]}, not at {COMMIT}; check that commit out")
    for folder in ("code", "configs"):
        shutil.copytree(checkout / folder, ROOT / folder, ignore=shutil.ignore_patterns("*.pyc"))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "BUILTUP_"))},
        "PYTHONPATH": str(ROOT / "code"),
        "OMP_NUM_THREADS": "1",
        "LOGNAME": "builtup",
        "GIT_DIR": git_folder,
        "GIT_WORK_TREE": str(checkout),
        "MLFLOW_TRACKING_URI": f"sqlite:///{ROOT}/output/mlflow.db",
    }

    def run(command: str, **options: object) -> None:
        given = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        line = [sys.executable, "-m", "builtup", command, *given]
        subprocess.run(line, cwd=ROOT, env=environment, check=True)

    def script(name: str, config: str, overrides: str) -> str:
        where = {"script_path": f"code/scripts/{name}.py", "config_path": f"configs/{config}"}
        run("main", overrides=overrides, **where)
        return newest_run(ROOT / "output" / "mlflow.db")

    write_inputs()
    run("setup")
    for split in ("train", "test"):
        source, target = f"input/{split}", f"output/{split}/images_3b"
        run("generate_3b_images", input_path=source, output_path=target)
    run("rasterize")
    for source, target in (("images_3b", "images"), ("masks", "masks")):
        cut = {"input_path": f"output/train/{source}", "output_path": f"input/train_tiles/{target}"}
        run("generate_tiles", tile_size=48, overlap=8, **cut)
    run("generate_test_tiles", tile_size=64, overlap=16)
    run("generate_tiles_stats")
    training = script("training", "train/recommended_cpu.py", TRAINING)
    how = f"run_id={training} device=cpu window=32 overlap=8 tta=none save_overlays=false"
    held_out = script("inference", "inference/validate.py", how)
    test = script("inference", "inference/test.py", how)
    for run_id, truth in ((held_out, "input/train"), (test, "input/test")):
        run("to_submission", run_id=run_id)
        run("validate", run_id=run_id, gt_path=truth)
    run("predict", model=training, input_path="input/test", window=32, overlap=8, device="cpu")
    run(
        "cross_validate",
        config_path="configs/train/recommended_cpu.py",
        overrides=TRAINING.replace("num_epochs=2", "num_epochs=1"),
    )
    names = {"training": training, "held_out": held_out, "test": test}
    (ROOT / "runs.json").write_text(json.dumps(names, indent=1) + "\n")
    return training


def write_inputs() -> None:
    """Two training cities and a test city of two dates, the second half a pixel aside."""
    write_city("train", "Alpha_2015", "38SLA", 300_000, ("20150101",))
    write_city("train", "Beta_2015", "38SLB", 340_000, ("20150203",))
    write_city("test", "Gamma_2016", "38SLC", 380_000, ("20160304", "20160405"))


def write_city(split: str, city: str, tile: str, east: float, dates: tuple[str, ...]) -> None:
    """VV and VH of each date, and the polygons of the city's blocks of buildings."""
    number = int(east) // 10_000
    squares = [(8 + (17 * i + number) % 54, 8 + (29 * i + 3 * number) % 54) for i in range(7)]
    folder = ROOT / "input" / split / city
    for date, aside in zip(dates, (0, 5), strict=False):
        transform = Affine(10, 0, east + aside, 0, -10, 4_000_000 - aside)
        for polarisation, level in (("vv", 0.1), ("vh", 0.02)):
            path = folder / f"{date}_{tile}" / f"s1a_{tile}_{polarisation}_ASC_{date}.tif"
            write_raster(path, backscatter(level, squares, int(date)), transform)
    north = 4_000_000
    corners = [(east + 10 * x, north - 10 * y) for y, x in squares]
    boxes = [shapely.box(left, top - 140, left + 140, top) for left, top in corners]
    shapes = shapely.get_parts(shapely.union_all(boxes))
    pyogrio.raw.write(
        folder / f"{tile}_{city.partition('_')[0]}.shp",
        geometry=shapely.to_wkb(shapes),
        field_data=[np.full(len(shapes), 255, dtype=np.int32)],
        fields=np.array(["DN"], dtype=object),
        geometry_type="Polygon",
        crs="EPSG:32638",
        driver="ESRI Shapefile",
    )


def backscatter(level: float, squares: list[tuple[int, int]], seed: int) -> NDArray[np.float32]:
    """Linear power in few levels, so that it packs well: bright squares, and a gap at the left."""
    y, x = np.indices((SIZE, SIZE))
    power = level * (1 + 0.25 * ((7 * y + 3 * x + seed + y * x // 9) % 4))
    for top, left in squares:
        power[top : top + 14, left : left + 14] *= 6
    power[:, :3] = 0
    return power.astype(np.float32)


def write_raster(path: Path, power: NDArray[np.float32], transform: Affine) -> None:
    """Write a scene of one polarisation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"count": 1, "height": SIZE, "width": SIZE, "dtype": "float32"}
    place = {"crs": "EPSG:32638", "transform": transform, "nodata": 0}
    with rasterio.open(path, "w", driver="GTiff", **profile, **place) as dataset:
        dataset.write(power, 1)


# --- how it is packed ---------------------------------------------------------------------------


def newest_run(database: Path) -> str:
    """The id of the run that began last."""
    connection = sqlite3.connect(database)
    query = "SELECT run_uuid FROM runs ORDER BY start_time DESC LIMIT 1"
    (run_id,) = connection.execute(query).fetchone()
    connection.close()
    return str(run_id)


def reduce_database(database: Path) -> None:
    """Leave out metrics of the machine and the points of curves, of which the last are kept."""
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("DELETE FROM metrics WHERE key LIKE 'system/%'")
        connection.execute("DELETE FROM latest_metrics WHERE key LIKE 'system/%'")
        connection.execute("DELETE FROM logged_model_metrics")
    connection.execute("VACUUM")
    connection.close()


def is_kept(path: Path, training: str) -> bool:
    """Whether a file is worth its bytes; of checkpoints those of one training are."""
    parts = path.relative_to(ROOT).parts
    if path.name == "MLmodel":  # by which a registered model is found
        return True
    return not LEFT_OUT & set(parts) and ("checkpoints" not in parts or training in parts)


def pack(training: str) -> None:
    """The files of the project, by name, and when each was written."""
    found = [path for path in sorted(ROOT.rglob("*")) if path.is_file()]
    files = [path for path in found if is_kept(path, training)]
    times = {str(path.relative_to(ROOT)): path.stat().st_mtime_ns for path in files}
    (ROOT / "mtimes.json").write_text(json.dumps(times, indent=0) + "\n")
    with tarfile.open(ARCHIVE, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as archive:
        for path in (ROOT / "mtimes.json", *files):
            entry = archive.gettarinfo(path, str(path.relative_to(ROOT)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)


if __name__ == "__main__":
    main()
