"""All data steps, for train and test, in one process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from builtup.errors import InputError, alike
from builtup.jobs.steps import Summary
from builtup.sensors.radar.discovery import scenes_of_split
from builtup.sensors.radar.merge import generate_3b_images
from builtup.sensors.scene_files import require_folder
from builtup.tiles.cut import generate_tiles
from builtup.tiles.masks import rasterize
from builtup.tiles.stats import generate_tiles_stats

__all__ = ["prepare"]

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
#: The defaults of the steps' own entry points: (tile size, overlap) in pixels.
TRAIN_TILING = (512, 32)
TEST_TILING = (1024, 256)


def prepare(
    *,
    input_path: Path,
    output_path: Path,
    tiles_path: Path,
    num_workers: int = 2,
    on_error: str = "stop",
    tell: Callable[[Summary], None] = lambda summary: None,
) -> list[Summary]:
    """Merge, rasterise, tile and measure `<input_path>/train`, merge and tile `…/test`.

    Rasters go to `<output_path>/{train,test}`, tiles to `<tiles_path>/{train,test}_tiles`, as the
    single steps with their defaults put them. A split that is missing is left out with a log line,
    as is a test split without scenes beside train; raises InputError where both are missing. The
    steps in the summaries are named `<split>/<step>`; `tell` gets each as its step ends.
    """
    require_folder(input_path)
    found = [split for split in SPLITS if (input_path / split).is_dir()]
    if not found:
        remedy = "link the data there (ln -s /data/unosat/train input/train)"
        for folder in sorted(p for p in input_path.iterdir() if (p / "train").is_dir()):
            remedy = f"give input_path={folder}, which does, or link its splits there"
        raise InputError(input_path, "holds neither train nor test", remedy)
    for split in SPLITS:
        if split not in found:
            log.info("%s: no such folder, %s is left out", input_path / split, split)
    if found == list(SPLITS) and (test := scenes_of_split(input_path / "test")).empty:
        log.info("%s: no scene below it, test is left out", input_path / "test")
        for first, count in alike(test.passed):
            log.warning("%s", first.of_many(count))
        found.remove("test")
    summaries: list[Summary] = []
    for split in found:
        run = _prepare_train if split == "train" else _prepare_test
        for summary in run(
            input_path / split,
            output_path / split,
            tiles_path / f"{split}_tiles",
            num_workers,
            on_error,
        ):
            summary.step = f"{split}/{summary.step}"
            tell(summary)
            summaries.append(summary)
    return summaries


def _prepare_train(
    scenes: Path, rasters: Path, tiles: Path, num_workers: int, on_error: str
) -> Iterator[Summary]:
    images, masks = rasters / "images_3b", rasters / "masks"
    size, overlap = TRAIN_TILING
    yield generate_3b_images(
        input_path=scenes, output_path=images, num_workers=num_workers, on_error=on_error
    )
    yield rasterize(
        input_path=scenes,
        output_path=masks,
        all_touched=True,
        num_workers=num_workers,
        on_error=on_error,
    )
    for source, target in ((images, "images"), (masks, "masks")):
        summary = generate_tiles(
            input_path=source,
            output_path=tiles / target,
            tile_size=size,
            overlap=overlap,
            materialize=True,
            num_workers=num_workers,
            on_error=on_error,
        )
        summary.step += f"/{target}"
        yield summary
    yield generate_tiles_stats(
        input_path=tiles, output_path=tiles, num_workers=num_workers, on_error=on_error
    )


def _prepare_test(
    scenes: Path, rasters: Path, tiles: Path, num_workers: int, on_error: str
) -> Iterator[Summary]:
    images = rasters / "images_3b"
    size, overlap = TEST_TILING
    yield generate_3b_images(
        input_path=scenes, output_path=images, num_workers=num_workers, on_error=on_error
    )
    yield generate_tiles(
        input_path=images,
        output_path=tiles / "images",
        tile_size=size,
        overlap=overlap,
        materialize=True,
        num_workers=num_workers,
        on_error=on_error,
        step_name="generate_test_tiles",
    )
