"""What the names of processors' files say: of which layers, of which radiometry.

Beside the backscatter of a scene stand pictures, noise, angles, masks; one acquisition may stand
there as σ⁰, γ⁰ and in decibels. No file is touched here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from builtup.sensors.radar.names import SceneName, without_copy

__all__ = [
    "Radiometry",
    "crossed_in",
    "is_border_mask",
    "is_product",
    "is_raw",
    "is_side_layer",
    "preferred",
    "radiometry_in",
]

_WORD = r"(?<![A-Za-z])(?:{})(?![A-Za-z])"
#: Words that make a layer wherever they stand, not those of a step: noise that was removed.
_LAYER = re.compile(
    r"BorderMask|incidence|layover|quicklook|thumbnail"
    r"|(?<![A-Za-z])(?:browse|preview|nesz|nebz|coherence|coh|glcm|phase)(?![A-Za-z\d])"
    r"|(?<![A-Za-z])noise(?![A-Za-z])(?![-_. ]?(?:rem|corr|red|free|filt|sub|cal))",
    re.IGNORECASE,
)
#: What stands at the end or the beginning of the names of layers, the polarisation left out.
_LAYER_END = re.compile(
    r"(?:^|[-_. ])(?:(?:(?:inc|ls)(?:_?(?:map|angle))?(?:_ell)?|(?:sin_)?lia|angle"
    r"|(?:data|water|shadow|valid)?_?mask)(?:[-_. ](?:v[vh]|h[vh]))?"
    r"|dem|elevation|slope|shadow|area|rgb|ql|ratio|(?:number_of_)?looks|anf(?:_gamma0_to_\w+)?)$",
    re.IGNORECASE,
)
_LAYER_BEGIN = re.compile(
    r"(?:(?:sin_|cos_|tan_|deg_)?(?:lia|ia)|gamma_area|dem|angle|rgb|mask)[-_. ]", re.IGNORECASE
)
#: Layers of analysis-ready products (s1ard): `s1a-iw-nrb-…-38slf-np-vv`, `…-lc`, composites.
_ARD_LAYER = re.compile(
    r"s1[a-d]-.*-(?:np-(?:v[vh]|h[vh])|ei|lc|ld|li|dm|id|gs|sg|wm|c[a-z]-[gsb]-(?:lin|log))",
    re.IGNORECASE,
)
#: The real and the imaginary part of a complex product.
_COMPLEX = re.compile(r"(?:^|.*[-_. ])[iq][-_](?:v[vh]|h[vh])", re.IGNORECASE)
_RAW = re.compile(r"s1[a-d]-[a-z0-9]{2,3}-(?:raw|slc|grd|ocn)-(?:v[vh]|h[vh])-.*", re.IGNORECASE)
_CROSSED = re.compile(_WORD.format("hh|hv"), re.IGNORECASE)
#: Folders of products and what these hold: neither is a city.
_PRODUCT = re.compile(
    r"S1[A-D]_(?:IW|EW|WV|S\d)_.*|S1[A-D]__IW_.*|OPERA_.*|.*\.SAFE|.*\.data|measurement|annotation",
    re.IGNORECASE,
)


def is_side_layer(stem: str) -> bool:
    """Whether a file stands beside scenes and is none: noise, angles, masks, heights, pictures."""
    plain = SceneName.parse(f"{stem}.tif") is None  # and so no city that is called Area
    return plain and bool(
        _LAYER.search(stem)
        or _LAYER_END.search(stem)
        or _LAYER_BEGIN.match(stem)
        or _ARD_LAYER.fullmatch(stem)
        or _COMPLEX.fullmatch(stem)
    )


def is_border_mask(stem: str) -> bool:
    """Whether it is the mask that S1Tiling puts beside each of its rasters."""
    return stem.lower().endswith("_bordermask")


def is_raw(stem: str, folders: Sequence[str] = ()) -> bool:
    """Whether a file is of a product in radar geometry, as ESA's SAFE folders hold it."""
    in_safe = any(folder.lower().endswith(".safe") for folder in folders)
    return _RAW.fullmatch(stem) is not None or (in_safe and "measurement" in folders)


def is_product(folder: str) -> bool:
    """Whether a folder is that of one product, or within it."""
    return _PRODUCT.fullmatch(folder) is not None


def crossed_in(text: str) -> bool:
    """Whether a name says HH or HV."""
    return _CROSSED.search(text) is not None


# --- radiometry -----------------------------------------------------------------------------------

_QUANTITIES = ("sigma0", "gamma0", "beta0")
_SCALES = ("power", "amplitude", "decibels", "digital numbers")
#: ASF's terrain-corrected products: `…_RTC10_G_gpuned_A1B2`, γ⁰ or σ⁰, its scale, filtered or not.
_HYP3 = re.compile(
    r"[-_]RTC(?P<pixel>\d\d)_[A-Z]_(?P<of>[gs])(?P<scale>[pda])[uw](?P<filtered>[nf])[ec][dm]"
    r"(?:_[0-9A-F]{4})?(?![A-Za-z0-9])"
)
_ARD = re.compile(r"[-_](?P<of>[gsb])[-_](?P<scale>lin|log)(?![A-Za-z0-9])", re.IGNORECASE)
_WORDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("sigma", "sigma0", "sig", "sig0", "sigmanought", "sigmanaught", "normlim"),
        ("quantity", "sigma0"),
    ),
    **dict.fromkeys(
        ("gamma", "gamma0", "gam", "gam0", "gammanought", "gammanaught", "gammanaughtrtc"),
        ("quantity", "gamma0"),
    ),
    **dict.fromkeys(("beta", "beta0", "bet", "bet0", "betanought"), ("quantity", "beta0")),
    **dict.fromkeys(("lin", "linear", "power", "pow", "intensity"), ("scale", "power")),
    **dict.fromkeys(("amplitude", "amp"), ("scale", "amplitude")),
    **dict.fromkeys(("db", "decibel", "decibels", "log"), ("scale", "decibels")),
    **dict.fromkeys(("dn", "uncalibrated"), ("scale", "digital numbers")),
    **dict.fromkeys(("filtered", "filt", "spk", "spkl", "despeckled", "lee"), ("filtered", "yes")),
    **dict.fromkeys(("rtc",), ("flattened", "yes")),
}
_PARTS = re.compile(r"[^-_. ]+")


@dataclass(frozen=True)
class Radiometry:
    """How the values of an acquisition were made, as far as its name says; empty is not said.

    `quantity` is sigma0, gamma0 or beta0; `scale` power, amplitude, decibels or digital numbers;
    `filtered` of speckle, `flattened` of terrain, `copy` a second copy of a file.
    """

    quantity: str = ""
    scale: str = ""
    filtered: bool = False
    flattened: bool = False
    copy: bool = False
    pixel: int = 0  # metres, 0 where the name does not say

    @property
    def kind(self) -> tuple[str, bool, bool]:
        """What scenes of one map should have in common."""
        return self.quantity, self.filtered, self.flattened

    def __str__(self) -> str:
        """As messages name it: `gamma0 in decibels, filtered`."""
        scale = f"in {self.scale}" if self.scale not in {"", "power"} else ""
        what = " ".join(filter(None, [self.quantity, scale]))
        also = ["speckle filtered" * self.filtered, "a second copy" * self.copy]
        return ", ".join(filter(None, [what, *also])) or "in another form"

    @property
    def rank(self) -> tuple[int, ...]:
        """Less is better: no copy, not filtered, σ⁰ before γ⁰ and β⁰, power before decibels."""
        quantity = _QUANTITIES.index(self.quantity) if self.quantity else 0
        scale = _SCALES.index(self.scale) if self.scale else 0
        return self.copy, self.filtered, quantity, scale, not self.flattened, self.pixel


def radiometry_in(text: str) -> tuple[str, Radiometry]:
    """The text without what says it, and the radiometry: of one acquisition the former is one."""
    said: dict[str, str] = {}
    rest = without_copy(text)
    for pattern in (_HYP3, _ARD):
        match = pattern.search(rest)
        if match is not None:
            of = {"s": "sigma0", "g": "gamma0", "b": "beta0"}[match["of"].lower()]
            said = {"quantity": of, "scale": _SHORT[match["scale"].lower()]}
            if pattern is _HYP3:
                said |= {"filtered": "yes"} if match["filtered"] == "f" else {}
                said |= {"flattened": "yes", "pixel": match["pixel"]}
            rest = rest[: match.start()] + "_" + rest[match.end() :]
    kept = []
    for part in _PARTS.findall(rest):
        what, value = _WORDS.get(part.lower(), ("", ""))
        if what:
            said.setdefault(what, value)
        else:
            kept.append(part)
    radiometry = Radiometry(
        said.get("quantity", ""),
        said.get("scale", ""),
        "filtered" in said,
        "flattened" in said,
        without_copy(text) != text,
        int(said.get("pixel", 0)),
    )
    return "_".join(kept), radiometry


_SHORT = {
    "p": "power", "d": "decibels", "a": "amplitude", "lin": "power", "log": "decibels",
}  # fmt: skip


def preferred(groups: Iterable[Sequence[Radiometry]]) -> list[int]:
    """Which radiometry of each acquisition is read: its number in the group.

    That which most acquisitions have, so that they fit together; of as many the first by rank.
    """
    groups = list(groups)
    having = Counter(kind for group in groups for kind in {one.kind for one in group})
    return [
        min(range(len(group)), key=lambda i: (-having[group[i].kind], group[i].rank, i))
        for group in groups
    ]
