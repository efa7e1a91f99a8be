"""The tags that every raster of a prediction carries: what it says of itself.

Later steps read these and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builtup.errors import InputError
from builtup.geo.rasters import open_raster
from builtup.sensors.classes import BUILT_UP, Classes, Rgb, colours_of_tag, colours_tag
from builtup.sensors.radar.names import plain_id

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

__all__ = [
    "CONFIDENCE",
    "QUICKLOOK",
    "PredictionTags",
    "base_city",
    "read_tags",
    "scene_stem",
    "write_tags",
]

_PREFIX = "BUILTUP_"
#: The kind of a scene's picture, and what stands between doubts in their tag.
QUICKLOOK, DOUBTS = "quicklook", "; "
#: The kind of a raster that holds the probability of each pixel's own class.
CONFIDENCE = "confidence"


@dataclass(frozen=True)
class PredictionTags:
    """What a prediction raster says of itself.

    `scene` is the scene id with braces (empty in a city's rasters, which join several), `city`
    the key `<TILE>_<City>`, `width` and `height` the whole scene's or city's grid in pixels,
    `run_id` the inference run, `threshold` that of the mapped class's probability, in (0, 1),
    `date` (YYYYMMDD) that of a scene whose name need not hold it. Of more than two classes rasters
    also say of what `kind` they are (tile, scene; of a city prob, std, count, classes), which class
    is `mapped`, and the `decision` by which pixels get their class. `doubts` are those of a city's
    map, in words. Of a city with folders of several years `year` says which; a map of all has none.
    `adapted` says to what the network's normalisation was fitted, empty where it was not. Of images
    from the air `sensor` says whose, and all rasters of what kind they are; of radar it is empty.
    `colours` and `unscored` are those of the classes where their names alone do not say them.
    `presence` is the largest probability that a network with a presence head gives any window of
    the scene of holding the mapped class; None of other networks. `share` is that of the mapped
    class where the network learnt, None where nothing follows it: the threshold of a city's map is
    moved to the city's own share (`builtup.scoring.prior_shift`).
    """

    scene: str
    city: str
    width: int
    height: int
    run_id: str
    threshold: float
    classes: tuple[str, ...] = ()
    date: str = ""
    kind: str = ""
    mapped: str = ""
    decision: str = ""
    doubts: tuple[str, ...] = ()
    year: str = ""
    adapted: str = ""
    sensor: str = ""
    colours: tuple[Rgb, ...] = ()
    unscored: tuple[str, ...] = ()
    presence: float | None = None
    share: float | None = None

    @property
    def base_city(self) -> str:
        """The key of the city of which a map of one year is, by which its ground is known."""
        return base_city(self.city, self.year)

    @property
    def class_set(self) -> Classes:
        """The classes; background and building where none are named."""
        if len(self.classes) < 2:
            return BUILT_UP
        roles = {"mapped": self.mapped, "colours": self.colours, "unscored": self.unscored}
        return Classes.with_roles(self.classes, roles)

    def with_roles(self, classes: Classes) -> PredictionTags:
        """The same, with what the names of its classes alone do not say."""
        roles = classes.roles()
        return replace(
            self,
            mapped=roles.get("mapped", self.mapped),
            colours=classes.colours if "colours" in roles else (),
            unscored=classes.unscored,
        )

    def of_kind(self, kind: str) -> PredictionTags:
        """What a raster of that kind says; of two classes by radar no more than it always did."""
        classes = self.class_set
        if classes.by_threshold and not self.sensor:
            return self
        decision = classes.decision(self.threshold)
        return replace(self, kind=kind, mapped=classes.mapped, decision=decision)

    def as_gdal(self) -> dict[str, str]:
        """The tags as GDAL metadata, for `dataset.update_tags(**tags.as_gdal())`."""
        tags = {
            "BUILTUP_SCENE": self.scene,
            "BUILTUP_CITY": self.city,
            "BUILTUP_GRID": f"{self.width},{self.height}",
            "BUILTUP_RUN_ID": self.run_id,
            "BUILTUP_THRESHOLD": repr(float(self.threshold)),
            "BUILTUP_CLASSES": ",".join(self.classes),
        }
        further = {
            "BUILTUP_DATE": self.date,
            "BUILTUP_YEAR": self.year,
            "BUILTUP_KIND": self.kind,
            "BUILTUP_MAPPED": self.mapped,
            "BUILTUP_DECISION": self.decision,
            "BUILTUP_ADAPTED": self.adapted,
            "BUILTUP_SENSOR": self.sensor,
            "BUILTUP_TRAINED_SHARE": "" if self.share is None else repr(float(self.share)),
            "BUILTUP_COLOURS": colours_tag(self.colours),
            "BUILTUP_UNSCORED": ",".join(self.unscored),
            "BUILTUP_DOUBTS": DOUBTS.join(self.doubts),
            "BUILTUP_PRESENCE": "" if self.presence is None else f"{self.presence:.6g}",
        }
        return tags | {name: value for name, value in further.items() if value}


def base_city(key: str, year: str) -> str:
    """The key of the city of which `key` is that of a map, of that `year` unless this is empty."""
    return key.removesuffix(f"_{year}") if year else key


def scene_stem(scene: str, city: str) -> str:
    """The name of the probability raster of a scene (its id, with braces): another than that of its
    city's, where both are named alike."""
    own = plain_id(scene)
    return f"{own}_scene_prob" if own == city else scene.replace("{}", "prob")


def write_tags(dataset: DatasetWriter, tags: PredictionTags) -> None:
    """Put the tags on an open raster."""
    dataset.update_tags(**tags.as_gdal())


def read_tags(source: Path | str | DatasetReader) -> PredictionTags:
    """The tags of a prediction raster; InputError where it has none or they make no sense."""
    if isinstance(source, Path | str):
        with open_raster(source) as dataset:
            return _parse(dataset.tags(), dataset.name)
    return _parse(source.tags(), source.name)


def _parse(raw: dict[str, str], name: str) -> PredictionTags:
    remedy = "run the inference again, or take the rasters that it wrote"
    missing = [key for key in ("CITY", "GRID", "THRESHOLD") if not raw.get(_PREFIX + key)]
    if missing:
        names = ", ".join(_PREFIX + key for key in missing)
        raise InputError(name, f"no prediction of ours: it lacks the tags {names}", remedy)
    try:
        width, height = (int(part) for part in raw["BUILTUP_GRID"].split(","))
        threshold = float(raw["BUILTUP_THRESHOLD"])
        colours = colours_of_tag(raw.get("BUILTUP_COLOURS", ""))
        presence, share = (
            float(said) if (said := raw.get(f"BUILTUP_{name}", "")) else None
            for name in ("PRESENCE", "TRAINED_SHARE")
        )
    except ValueError as e:
        raise InputError(name, f"tags that make no sense ({e})", remedy) from e
    if width < 1 or height < 1 or not 0 <= threshold <= 1 or not 0 <= (share or 0) <= 1:
        told = f"grid {width},{height}, threshold {threshold}, share {share}"
        raise InputError(name, f"tags that make no sense ({told})", remedy)
    return PredictionTags(
        scene=raw.get("BUILTUP_SCENE", ""),
        city=raw["BUILTUP_CITY"],
        width=width,
        height=height,
        run_id=raw.get("BUILTUP_RUN_ID", ""),
        threshold=threshold,
        classes=tuple(filter(None, raw.get("BUILTUP_CLASSES", "").split(","))),
        date=raw.get("BUILTUP_DATE", ""),
        kind=raw.get("BUILTUP_KIND", ""),
        year=raw.get("BUILTUP_YEAR", ""),
        adapted=raw.get("BUILTUP_ADAPTED", ""),
        sensor=raw.get("BUILTUP_SENSOR", ""),
        share=share,
        colours=colours,
        unscored=tuple(filter(None, raw.get("BUILTUP_UNSCORED", "").split(","))),
        mapped=raw.get("BUILTUP_MAPPED", ""),
        decision=raw.get("BUILTUP_DECISION", ""),
        doubts=tuple(filter(None, raw.get("BUILTUP_DOUBTS", "").split(DOUBTS))),
        presence=presence,
    )
