"""What kind of country and towns a city has: what the plan is drawn from, wide or shifted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

__all__ = ["SHIFTS", "VARIETIES", "Land", "Style", "Towns", "draw_style"]

#: How far cities differ: `plain` as the published levels have it, `wide` as countries do.
VARIETIES = ("plain", "wide")
#: Ground of another kind: plans of streets, land cover, seasons, sensors.
SHIFTS = ("style", "climate", "season", "sensor")

Range = tuple[float, float]


@dataclass(frozen=True)
class Towns:
    """What settlements are drawn from; as it stands, the plain world.

    `radius`: of towns, as shares of the region's side; `villages`: mean number a region;
    `village_radius`: their median (m); `rows`: share of villages that are one row of houses;
    `farms`, `scattered`, `halls`: farms, single houses and strips of large halls a km²;
    `aligned`: share of districts that keep to the town's direction; `avenues`: distance between
    wide straight streets through towns, 0 for none (m); `lots`: factor on lots and streets;
    `open`: factor on the share of open ground; `industry`: share of outer districts;
    `kinds`: kind of district that takes the place of another; `tail`: shape of the gamma variable
    of wall returns (less: heavier); `patches`: deviation of wall returns between districts (dB);
    `trees`: share of a village house's return that trees may take.
    """

    radius: Range = (0.15, 0.235)
    villages: float = 18.0
    village_radius: float = 170.0
    rows: float = 0.0
    farms: float = 0.45
    scattered: float = 0.0
    halls: float = 0.0
    aligned: float = 0.45
    avenues: float = 0.0
    lots: float = 1.0
    open: float = 1.0
    industry: float = 0.16
    kinds: Mapping[str, str] = field(default_factory=dict)
    tail: float = 2.3
    patches: float = 0.0
    trees: float = 0.0


@dataclass(frozen=True)
class Land:
    """What the open country is drawn from; as it stands, the plain world.

    `dryness`: range of the mix of crops; `crops`: factors on the shares of the plain crops, and
    shares of the others; `parcel`: factor on the size of parcels, `strips` on their length;
    `turns`: share of the half circle over which the directions of districts spread; `clusters`:
    correlation of what neighbouring parcels bear; `belts`: share of districts some of whose
    parcels have belts of trees between them; `woods`, `rocks`, `lakes`: added to the levels
    above which they stand (more: fewer); `rivers`: factor on their width; `coast`: whether the sea
    takes a side of the scene.
    """

    dryness: Range = (0.0, 1.0)
    crops: Mapping[str, float] = field(default_factory=dict)
    parcel: float = 1.0
    strips: float = 1.0
    turns: float = 1.0
    clusters: float = 0.0
    belts: float = 0.0
    woods: float = 0.0
    rocks: float = 0.0
    lakes: float = 0.0
    rivers: float = 1.0
    coast: bool = False


@dataclass(frozen=True)
class Style:
    """The kind of a city."""

    towns: Towns = Towns()
    land: Land = Land()


def draw_style(rng: np.random.Generator, variety: str, shift: str, number: int) -> Style:
    """The style of the city of a number; plain cities without a shift draw nothing.

    A shift gives what no plain city has, of two or three kinds in turn; among wide cities these lie
    at the ends of the ranges.
    """
    style = Style(_wide_towns(rng), _wide_land(rng)) if variety == "wide" else Style()
    if shift == "style":
        return replace(style, towns=_other_towns(style.towns, number))
    if shift == "climate":
        return replace(style, land=_other_land(style.land, number))
    return style


def _wide_towns(rng: np.random.Generator) -> Towns:
    """Towns of a country of its own: small or filling the scene, lattices or patchwork."""
    kinds = {
        "core": rng.choice(["core", "core", "slabs", "shacks"]),
        "rows": rng.choice(["rows", "rows", "slabs", "terraces"]),
        "suburb": rng.choice(["suburb", "suburb", "plots", "terraces", "shacks"]),
        "industry": rng.choice(["industry", "halls"]),
        "village": rng.choice(["village", "hamlet"]),
    }
    fills = rng.random() < 0.25
    low = rng.uniform(0.34, 0.46) if fills else rng.uniform(0.06, 0.34)
    return Towns(
        radius=(low, 1.2 * low),
        villages=float(rng.choice([4, 18, 40])) * rng.uniform(0.6, 1.4),
        village_radius=170 * math.exp(rng.normal(0, 0.35)),
        rows=rng.choice([0.0, 0.4, 0.9]),
        farms=0.6 * math.exp(rng.normal(0, 0.9)),
        scattered=max(0.0, rng.normal(0, 6)),
        halls=max(0.0, rng.normal(0.05, 0.1)),
        aligned=rng.choice([0.2, 0.45, 1.0]),
        avenues=rng.choice([0.0, rng.uniform(250, 900)]),
        lots=float(np.clip(math.exp(rng.normal(0.05, 0.2)), 0.85, 1.5)),
        open=rng.uniform(0.2, 1.5),
        industry=rng.uniform(0.05, 0.35),
        kinds={name: str(kind) for name, kind in kinds.items()},
        tail=rng.uniform(1.25, 3.0),
        patches=rng.uniform(0, 2.5),
        trees=rng.uniform(0, 0.75),
    )


def _wide_land(rng: np.random.Generator) -> Land:
    """Country of a few main crops, with hedges or without, at the sea or not."""
    crops = {
        name: float(rng.gamma(0.8) / 0.8)
        for name in ("cereal", "rowcrop", "grass", "ploughed", "orchard", "wet", "bare")
    }
    for name, chance, most in (
        ("tallcrop", 0.5, 0.4),
        ("greenhouse", 0.35, 0.12),
        ("flooded", 0.35, 0.45),
        ("reed", 0.25, 0.15),
    ):
        crops[name] = rng.uniform(0, most) * (rng.random() < chance)
    return Land(
        dryness=(0.0, 1.0),
        crops=crops,
        parcel=float(np.clip(math.exp(rng.normal(0.1, 0.5)), 0.5, 3)),
        strips=rng.uniform(0.3, 1.3),
        turns=rng.choice([0.04, 0.3, 1.0, 1.0]),
        clusters=rng.uniform(0, 0.9),
        belts=rng.uniform(0, 0.7) * (rng.random() < 0.6),
        woods=rng.uniform(-0.4, 0.8),
        rocks=rng.uniform(0, 1.2),
        lakes=rng.uniform(-0.2, 0.8),
        rivers=math.exp(rng.normal(0, 0.6)),
        coast=bool(rng.random() < 0.3),
    )


def _other_towns(towns: Towns, number: int) -> Towns:
    """A lattice of wide lots, rows of high slabs, or row villages and single houses."""
    lattice = {"core": "rows", "rows": "plots", "suburb": "plots", "industry": "halls"}
    slabs = {"core": "slabs", "rows": "slabs", "suburb": "shacks", "industry": "halls"}
    kinds = (
        replace(towns, radius=(0.3, 0.4), aligned=1.0, lots=1.2, kinds=lattice, avenues=500.0),
        replace(towns, radius=(0.22, 0.34), villages=6.0, lots=0.85, open=1.5, kinds=slabs),
        replace(towns, radius=(0.07, 0.1), villages=45.0, rows=1.0, scattered=12.0, farms=1.5),
    )
    return kinds[number % len(kinds)]


def _other_land(land: Land, number: int) -> Land:
    """Bare and stony ground, or wet and flooded fields and woods."""
    dry = {"bare": 12.0, "ploughed": 2.0, "cereal": 0.1, "grass": 0.2, "wet": 0.0}
    wet = {"wet": 5.0, "flooded": 0.35, "reed": 0.15, "bare": 0.0, "tallcrop": 0.2}
    kinds = (
        replace(land, dryness=(1.0, 1.0), crops=dry, woods=3.0, rocks=-0.4, lakes=2.0),
        replace(land, dryness=(0.0, 0.0), crops=wet, woods=-0.5, rocks=1.5, rivers=2.0),
    )
    return kinds[number % len(kinds)]
