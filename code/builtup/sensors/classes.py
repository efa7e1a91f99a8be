"""The classes of a map: names and colours, which one is mapped, and how pixels are decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import ConfigError
from builtup.geo.probability import IGNORE, NODATA, level_of

__all__ = ["BUILT_UP", "Classes", "Rgb", "colours_of_tag", "colours_tag"]

Rgb = tuple[int, int, int]

#: Colours of classes that say none: the mapped one is red, the others in this order.
MAPPED_COLOUR: Rgb = (215, 48, 31)
COLOURS: tuple[Rgb, ...] = (
    (225, 225, 225),
    (78, 121, 167),
    (242, 142, 43),
    (89, 161, 79),
    (237, 201, 72),
    (176, 122, 161),
    (118, 183, 178),
    (156, 117, 95),
)
#: Of those, what nobody would draw otherwise.
KNOWN_COLOURS: dict[str, Rgb] = {
    "water": (78, 121, 167),
    "vegetation": (89, 161, 79),
    "ground": (214, 196, 160),
    "road": (120, 120, 125),
    "car": (176, 122, 161),
}


@dataclass(frozen=True)
class Classes:
    """The classes of a data set, by number: 0 to len(names) − 1.

    `mapped` is the class of the headline F1 and IoU, of the probability of two-class maps and of
    polygons; `unscored` are predicted, but left out of means; pixels of an `ignored` colour are
    255 in masks. Two classes are decided by a threshold, more by the largest probability.
    Raises ConfigError for names that cannot be told apart or a mapped class that is none of them.
    """

    names: tuple[str, ...]
    colours: tuple[Rgb, ...]
    mapped: str
    unscored: tuple[str, ...] = ()
    ignored: tuple[Rgb, ...] = ()

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= NODATA - 1:
            raise ConfigError(
                f"class_names = {self.names!r}: {len(self.names)} classes; name two or more"
            )
        if len(set(self.names)) < len(self.names) or any("," in n or not n for n in self.names):
            raise ConfigError(
                f"class_names = {self.names!r}: each needs a name of its own, without commas"
            )
        if strangers := sorted({self.mapped, *self.unscored} - set(self.names)):
            raise ConfigError(
                f"{', '.join(strangers)}: no such class; choose from {', '.join(self.names)}"
            )
        if len(self.colours) != len(self.names):
            raise ConfigError(
                f"{len(self.colours)} colours for {len(self.names)} classes; give one for each"
            )

    @classmethod
    def of(cls, names: Iterable[str], mapped: str = "") -> Classes:
        """Classes from their names alone: the mapped one is `mapped`, else "building" where it is
        among them, else the second."""
        names = tuple(names)
        if not mapped:
            mapped = "building" if "building" in names or len(names) < 2 else names[1]
        fixed = {**KNOWN_COLOURS, mapped: MAPPED_COLOUR}
        own = [fixed[name] for name in names if name in fixed]
        free = [colour for colour in COLOURS if colour not in own]
        others = iter(free * (len(names) // len(free) + 1))
        colours = tuple(fixed[name] if name in fixed else next(others) for name in names)
        return cls(names, colours, mapped)

    @classmethod
    def of_config(cls, names: Iterable[str], num_classes: int, where: object) -> Classes:
        """`of`, for `num_classes` outputs of a network; ConfigError naming `where` (the config's
        file) where the names are fewer or more."""
        names = tuple(names)
        if len(names) != num_classes:
            raise ConfigError(
                f"{where}: class_names has {len(names)} names ({', '.join(names)}) for "
                f"num_classes = {num_classes}; name every class, in the order of their numbers"
            )
        try:
            return cls.of(names)
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from e

    @classmethod
    def with_roles(cls, names: Iterable[str], roles: Mapping[str, Any]) -> Classes:
        """Classes from their names and what `roles` gave."""
        plain = cls.of(names, roles.get("mapped", ""))
        colours = tuple((int(r), int(g), int(b)) for r, g, b in roles.get("colours", ()))
        unscored = tuple(roles.get("unscored", ()))
        return cls(plain.names, colours or plain.colours, plain.mapped, unscored)

    def roles(self) -> dict[str, Any]:
        """What the names alone do not say, as JSON values: nothing where they say it all."""
        said: dict[str, Any] = {}
        if self.mapped != Classes.of(self.names).mapped:
            said["mapped"] = self.mapped
        if self.colours != Classes.of(self.names, self.mapped).colours:
            said["colours"] = [list(colour) for colour in self.colours]
        if self.unscored:
            said["unscored"] = list(self.unscored)
        return said

    def tags(self) -> dict[str, str]:
        """Names, and what they alone do not say, as the tags of a raster."""
        roles = self.roles()
        further = {
            "BUILTUP_MAPPED": roles.get("mapped", ""),
            "BUILTUP_COLOURS": colours_tag(roles.get("colours", ())),
            "BUILTUP_UNSCORED": ",".join(roles.get("unscored", ())),
        }
        named = {"BUILTUP_CLASSES": ",".join(self.names)}
        return named | {name: value for name, value in further.items() if value}

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Classes | None:
        """What `tags` gave, None where they name no classes; ValueError for colours that are
        none."""
        names = _listed(tags, "BUILTUP_CLASSES")
        if not names:
            return None
        roles = {
            "mapped": tags.get("BUILTUP_MAPPED", ""),
            "colours": colours_of_tag(tags.get("BUILTUP_COLOURS", "")),
            "unscored": _listed(tags, "BUILTUP_UNSCORED"),
        }
        return cls.with_roles(names, roles)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def mapped_index(self) -> int:
        """The number of the mapped class."""
        return self.names.index(self.mapped)

    @property
    def by_threshold(self) -> bool:
        """Whether pixels are decided by the mapped class's probability: there are two classes."""
        return len(self.names) == 2

    @property
    def bands(self) -> tuple[str, ...]:
        """The class of each band of a raster of probabilities: of two the mapped one alone."""
        return (self.mapped,) if self.by_threshold else self.names

    @property
    def scored(self) -> tuple[int, ...]:
        """The numbers of the classes that count in means."""
        return tuple(i for i, name in enumerate(self.names) if name not in self.unscored)

    def chosen(self, text: str) -> tuple[str, ...]:
        """The classes that `text` names, separated by `;`, in the order of their numbers: the
        mapped one where it is empty, or "all". ConfigError for a name that is none of them."""
        named = {part.strip() for part in text.split(";")} - {""}
        if named == {"all"}:
            return self.names
        if strangers := sorted(named - set(self.names)):
            raise ConfigError(
                f"classes={text}: no class {', '.join(strangers)}; choose all, or from "
                f"{', '.join(self.names)}"
            )
        return tuple(name for name in self.names if name in named) or (self.mapped,)

    def least(self, threshold: float) -> float:
        """The least probability of the mapped class with which a pixel may be of it."""
        return threshold if self.by_threshold else 1 / len(self)

    def decision(self, threshold: float) -> str:
        """How pixels are decided, in words: "threshold:0.43" or "argmax"."""
        return f"threshold:{threshold:g}" if self.by_threshold else "argmax"

    def decide(self, levels: NDArray[np.uint8], threshold: float) -> NDArray[np.uint8]:
        """The class of each pixel, (H, W) uint8 with 255 for no-data.

        `levels` (B, H, W) are 8-bit probabilities, v/254: of two classes that of the mapped one
        alone (B = 1) or both; of more a band each. Of equal ones the first class wins.
        """
        unknown = (levels == NODATA).any(axis=0)
        if self.by_threshold:
            mapped = self.mapped_index
            is_mapped = levels[0 if len(levels) == 1 else mapped] >= level_of(threshold)
            label = np.where(is_mapped, np.uint8(mapped), np.uint8(1 - mapped))
        else:
            label = levels.argmax(axis=0).astype(np.uint8)
        label[unknown] = IGNORE
        return label


def colours_tag(colours: Iterable[Iterable[int]]) -> str:
    """Colours as a tag has them: `215 48 31,225 225 225`."""
    return ",".join(" ".join(map(str, colour)) for colour in colours)


def colours_of_tag(text: str) -> tuple[Rgb, ...]:
    """What `colours_tag` gave; ValueError for anything else."""
    found = []
    for part in filter(None, text.split(",")):
        red, green, blue = map(int, part.split())
        found.append((red, green, blue))
    if any(not 0 <= value <= 255 for colour in found for value in colour):
        raise ValueError(f"colours {text}")
    return tuple(found)


def _listed(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(filter(None, tags.get(name, "").split(",")))


#: What the chain maps where a config names nothing else.
BUILT_UP = Classes.of(("background", "building"))
