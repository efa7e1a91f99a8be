"""The step `audit`: where a network and the labels of its held-out ground differ most.

A network that never saw a chip and is sure of something else than its label is either wrong or
right: the worst chips are where wrong labels are found first, and what a network does not know.
"""

from __future__ import annotations

import base64
import csv
import heapq
import html
import io
import itertools
import logging
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from builtup.config.device import pick_device
from builtup.config.load import load_logged
from builtup.data.contract import SampleLoader, as_tile_loader
from builtup.errors import InputError
from builtup.geo.probability import IGNORE
from builtup.geo.windows import Window
from builtup.jobs.files import write_text_atomically
from builtup.models.channels import sensor_of_model
from builtup.models.heads import class_logits
from builtup.runs.lineage import find_artifacts
from builtup.scoring.tile_picture import tile_picture
from builtup.sensors.classes import Classes
from builtup.sensors.sensor import Sensor
from builtup.text_table import text_table
from builtup.training.checkpoints import load_trained

__all__ = ["AUDIT_CSV", "AUDIT_HTML", "Chip", "audit"]

log = logging.getLogger(__name__)

AUDIT_CSV, AUDIT_HTML = "audit.csv", "audit.html"
#: Chips named in what is printed.
PRINTED = 10
#: The least probability that a label is counted with.
LEAST = 1e-7


@dataclass(frozen=True)
class Chip:
    """A line of audit.csv, its columns in this order.

    `x`, `y` are its upper left pixel in the tile, `pixels` those that were scored, `loss` their
    mean −log of the probability of the label, `wrong` the share in which another class is likelier.
    `label` and `found` are the classes most often taken for one another; nothing where none is.
    """

    loss: float
    wrong: float
    label: str
    found: str
    pixels: int
    tile: str
    city: str
    x: int
    y: int


@dataclass(frozen=True)
class _Seen:
    """The image, truth, likeliest class and probability of the truth of a tile or chip."""

    image: NDArray[np.float32]
    truth: NDArray[np.uint8]
    found: NDArray[np.uint8]
    right: NDArray[np.float32]

    def cut(self, window: Window) -> _Seen:
        rows, columns = window.slices
        return _Seen(
            self.image[:, rows, columns],
            self.truth[rows, columns],
            self.found[rows, columns],
            self.right[rows, columns],
        )


def audit(
    *,
    run_id: str,
    weights: str = "best",
    chip: int = 256,
    worst: int = 20,
    data_path: str = "",
    output_path: str = "",
) -> str:
    """Rank the chips of a training's held-out ground by their loss; return the worst as a table.

    Writes audit.csv, all chips of `chip` pixels a side, worst first, and audit.html, the `worst` as
    pictures, into `output_path` (audit/ beside the run's weights). `data_path` stands in place of
    the tiles that the run logged. Every scored pixel is in one chip. Raises InputError where the
    run holds out nothing.
    """
    folder, _ = find_artifacts(run_id)
    trained = load_trained(run_id, weights)
    config = load_logged(folder / "config", **({"data_path": data_path} if data_path else {}))
    device = pick_device(config.get("device", "auto"), config.path)
    config.provide(device=device)
    built = config.build("val_loader")
    if built is None:
        remedy = "audit a run that holds a fold out, such as one of cross_validate"
        raise InputError(folder, "its training holds out no ground", remedy)
    model, loader = trained.model.to(device), as_tile_loader(built)
    chips: list[Chip] = []
    kept: list[tuple[float, int, Chip, _Seen]] = []
    for name, city, seen in _tiles(model, loader, device):
        for window in _windows(seen.truth.shape, chip):
            part = seen.cut(window)
            found = _measured(part, trained.classes, name, city, window)
            if found is None:
                continue
            # the earlier of two that are alike
            heapq.heappush(kept, (found.loss, -len(chips), found, part))
            if len(kept) > worst:
                heapq.heappop(kept)
            chips.append(found)
    if not chips:
        raise InputError(folder, "no pixel of its held-out ground has a label", "add labels there")
    chips.sort(key=lambda one: (-one.loss, one.tile, one.y, one.x))
    target = Path(output_path) if output_path else folder / "audit"
    pictures = [(one, part) for *_, one, part in sorted(kept, key=lambda k: (-k[0], -k[1]))]
    sensor = sensor_of_model(model)
    write_text_atomically(target / AUDIT_CSV, _as_csv(chips))
    page = _page(run_id, chips, pictures, trained.classes, sensor)
    write_text_atomically(target / AUDIT_HTML, page)
    return f"{_table(chips)}\nall {len(chips)} chips: {target / AUDIT_CSV}, {target / AUDIT_HTML}"


def _tiles(
    model: nn.Module, loader: SampleLoader, device: torch.device
) -> Iterator[tuple[str, str, _Seen]]:
    """The id and city of each held-out tile, and what the network makes of it."""
    places = loader.places
    for batch in loader:
        with torch.inference_mode():
            logits = class_logits(model(batch["image"].to(device))).float()
            probability = logits.softmax(1).cpu()
        truth = torch.as_tensor(batch["mask"]).long()
        known = torch.where(truth == IGNORE, 0, truth)
        right = probability.gather(1, known[:, None])[:, 0]
        cities = [places.cities[i] if places.cities else "" for i in places.of_batch(batch)]
        for i, (name, city) in enumerate(zip(places.names(batch), cities, strict=True)):
            yield (
                *(name, city),
                _Seen(
                    batch["image"][i].numpy(),
                    truth[i].to(torch.uint8).numpy(),
                    probability[i].argmax(0).to(torch.uint8).numpy(),
                    right[i].numpy(),
                ),
            )


def _windows(shape: tuple[int, ...], side: int) -> Iterator[Window]:
    height, width = shape
    for y, x in itertools.product(range(0, height, side), range(0, width, side)):
        yield Window(y, x, min(side, height - y), min(side, width - x))


def _measured(part: _Seen, classes: Classes, name: str, city: str, window: Window) -> Chip | None:
    """The figures of a chip; None where no pixel of it is scored."""
    valid = part.truth != IGNORE
    pixels = int(valid.sum())
    if not pixels:
        return None
    truth, found = part.truth[valid].astype(int), part.found[valid].astype(int)
    pairs = np.bincount(truth * len(classes) + found, minlength=len(classes) ** 2)
    confused = pairs.reshape(len(classes), -1) * (1 - np.eye(len(classes), dtype=int))
    label, taken = np.unravel_index(confused.argmax(), confused.shape)
    any_wrong = bool(confused.any())
    return Chip(
        loss=float(-np.log(np.maximum(part.right[valid].astype(np.float64), LEAST)).mean()),
        wrong=float((truth != found).mean()),
        label=classes.names[label] if any_wrong else "",
        found=classes.names[taken] if any_wrong else "",
        pixels=pixels,
        tile=name,
        city=city,
        x=window.x,
        y=window.y,
    )


def _as_csv(chips: list[Chip]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([field.name for field in fields(Chip)])
    for one in chips:
        lines.writerow([f"{v:.6f}" if isinstance(v, float) else v for v in astuple(one)])
    return text.getvalue()


def _table(chips: list[Chip]) -> str:
    rows = [["loss", "wrong", "most often", "pixels", "tile", "x", "y"]]
    for one in chips[:PRINTED]:
        figures = (f"{one.loss:.3f}", f"{one.wrong:.2f}", _confusion(one), f"{one.pixels:,}")
        rows.append([*figures, one.tile, str(one.x), str(one.y)])
    return text_table(rows)


def _confusion(one: Chip) -> str:
    return f"{one.label} found as {one.found}" if one.label else ""


def _page(
    run_id: str,
    chips: list[Chip],
    pictures: list[tuple[Chip, _Seen]],
    classes: Classes,
    sensor: Sensor,
) -> str:
    """One self-contained page: the worst chips as pictures."""
    mean = np.average([one.loss for one in chips], weights=[one.pixels for one in chips])
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>audit</title>",
        "<style>body{font:15px/1.5 sans-serif;max-width:1000px;margin:2em auto}"
        "img{max-width:100%}</style>",
        f"<h1>Held-out chips, worst first</h1><p>Run {html.escape(run_id)}: {len(chips)} chips of "
        f"ground that it did not learn from, loss {mean:.3f} on average. The panel "
        "“probability” is that of the label: dark where the network is sure of another class. "
        f"All chips are in {AUDIT_CSV}.</p>",
    ]
    for number, (one, part) in enumerate(pictures, 1):
        says = f"{number}. {one.tile}, x {one.x}, y {one.y}: loss {one.loss:.3f}, "
        says += f"{one.wrong:.0%} of {one.pixels:,} pixels differ"
        says += f"; most often {_confusion(one)}" if one.label else ""
        right = np.where(part.truth == IGNORE, 0, part.right).astype(np.float32)
        title = f"{one.tile}  x {one.x}, y {one.y}"
        picture = tile_picture(part.image, right, part.found, part.truth, classes, sensor, title)
        parts.append(f"<h2>{html.escape(says)}</h2><img alt='' src='{_uri(picture)}'>")
    return "\n".join(parts) + "\n"


def _uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
