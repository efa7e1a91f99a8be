"""Names of radar scenes, taken apart: no file is touched here.

`<split>/<City>_<year>/**/s1a_<TILE>_{vv|vh}[_{ASC|DES}]_<YYYYMMDD>[t<HHMMSS|xxxxxx>][_N].tif`,
and S1Tiling's later names, with the relative orbit before the date (`…_DES_007_20200108txxxxxx`)
and after it the calibration (`…_NormLim`, `…_GammaNaughtRTC`, `…_sigma`) and `_filtered`; also as
Theia has them (`S1A_L1ORT_38SLF_VV_SIG_DES_007_…`). Of other names the polarisation and the date
are found wherever they stand. What a name says of radiometry, and which names are of no scene, is
told by `builtup.sensors.radar.products`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "POLARISATIONS",
    "SceneName",
    "city_key",
    "city_name",
    "city_year",
    "current_key",
    "date_in",
    "plain_id",
    "polarisation_in",
    "safe_name",
    "same_city",
    "scene_years",
    "site_key",
    "without_copy",
]

POLARISATIONS = ("vv", "vh")

_NAME = re.compile(
    r"(?P<satellite>s1[a-d])(?:_L1ORT)?_(?P<tile>\d{2}[A-Za-z]{3})_"
    r"(?P<kind>vv|vh|3b|mask|prob|std|count)(?:_(?:sig|gam|bet))?"
    r"(?:_(?P<orbit>asc|des))?(?:_(?P<track>\d{3}))?_(?P<date>\d{8})(?P<time>t(?:\d{6}|x{6}))?"
    r"(?:_(?:NormLim|GammaNaughtRTC|sigma|gamma|beta))?(?:_filtered)?(?:_(?P<number>\d+))?",
    re.IGNORECASE,
)
_CITY_FOLDER = re.compile(r"(?P<name>.+?)_(?P<year>\d{4})")
#: Endings that our rasters of a city have: a city of such a name would have another's files.
_OURS = re.compile(r"_(prob|std|count|quicklook|confidence)$")
_POLARISATION = re.compile(r"(?<![A-Za-z])(vv|vh)(?![A-Za-z])", re.IGNORECASE)
_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?!\d)")
#: What a browser or a file manager adds to the name of a second file.
_COPY = re.compile(
    r"(?: ?\(\d+\)| - (?:copy|kopie|copie|copia)(?: \(\d+\))?|[ _-]copy(?: ?\d+)?)$", re.IGNORECASE
)
#: Bytes of a name; file systems take 255.
_LONGEST = 150


@dataclass(frozen=True)
class SceneName:
    """A scene's file name, taken apart.

    `stem` is the file's stem as it stands, `scene_id` the stem with braces for the polarisation:
    `s1a_38SLF_{}_ASC_20151005_1`. `kind` is `vv`, `vh`, or what stands there in files that we
    write: `3b`, `mask`, `prob`, `std`, `count`. `orbit` is empty, `ASC` or `DES`.
    """

    stem: str
    scene_id: str
    kind: str
    tile: str
    date: str
    orbit: str = ""

    @classmethod
    def parse(cls, path: Path | str) -> SceneName | None:
        """Take a file name apart; None where it is not a scene's (a BorderMask, for one)."""
        p = Path(path)
        match = _NAME.fullmatch(p.stem)
        if match is None or p.suffix.lower() not in {".tif", ".tiff"}:
            return None
        return cls(
            stem=p.stem,
            scene_id=f"{p.stem[: match.start('kind')]}{{}}{p.stem[match.end('kind') :]}",
            kind=match["kind"].lower(),
            tile=match["tile"].upper(),
            date=match["date"],
            orbit=(match["orbit"] or "").upper(),
        )


def plain_id(scene_id: str) -> str:
    """A scene id without its braces: `s1a_38SLF_{}_20150426` gives `s1a_38SLF_20150426`."""
    return scene_id.replace("_{}", "")


def city_name(folder: str) -> str:
    """The city of a folder `<City>_<year>`; the folder's own name where it has no year."""
    match = _CITY_FOLDER.fullmatch(folder)
    return match["name"] if match else folder


def city_year(folder: str) -> str:
    """The year of a folder `<City>_<year>`; empty where it has none."""
    match = _CITY_FOLDER.fullmatch(folder)
    return match["year"] if match else ""


def scene_years(scenes: Sequence[tuple[str, str]]) -> list[str]:
    """The year of each scene of a city that has folders of several years; else all are empty.

    `scenes` are the year of the folder (empty where it has none) and the date YYYYMMDD, which says
    the year of a scene that lies in no year's folder; without a date it is one of the first year.
    """
    named = {year for year, _ in scenes} - {""}
    if len(named) < 2:
        return [""] * len(scenes)
    return [year or date[:4] or min(named) for year, date in scenes]


def city_key(tile: str, city: str) -> str:
    """The key of a city, `<TILE>_<City>`, the same on every way into the map: fit for files,
    patterns of names and MLflow, so blanks and other signs in the city's name are `_`."""
    return f"{tile}_{site_key(city)}"


def site_key(site: str) -> str:
    """The key of a site that lies in no tile: as `city_key`, of its name alone."""
    return _OURS.sub(r"-\1", safe_name(site))


def current_key(name: str) -> str:
    """A key, or a block of its city (`<key>/r0c1`), as it is made today; commits before wrote
    `38SLF_New York`. Other names stay as they are."""
    place, slash, block = name.partition("/")
    tile, _, city = place.partition("_")
    return f"{city_key(tile, city) if city else place}{slash}{block}"


def same_city(key: str, other: str) -> bool:
    """Whether two keys are of one city, one spelled otherwise or of a year of it (`<key>_2020`)."""
    one, two = current_key(key), current_key(other)
    return one == two or (_CITY_FOLDER.fullmatch(one) is not None and city_name(one) == two)


def polarisation_in(stem: str) -> tuple[str, str]:
    """(`vv` or `vh`, the stem without it); the first is empty where it says none, or several.

    What marks a second copy stays at the end, as `_copy1`.
    """
    plain = without_copy(stem)
    found = list(_POLARISATION.finditer(plain))
    if len(found) != 1:
        return "", stem
    match = found[0]
    before, after = plain[: match.start()].rstrip("_-. "), plain[match.end() :].lstrip("_-. ")
    rest = "_".join(filter(None, (before, after))) or "scene"
    copy = "_copy" + "".join(filter(str.isdigit, stem[len(plain) :])) if plain != stem else ""
    return match[1].lower(), rest + copy


def without_copy(stem: str) -> str:
    """A stem without what marks a second copy of a file: ` (1)`, ` - Copy`."""
    return _COPY.sub("", stem)


def date_in(text: str) -> str:
    """The first date (YYYYMMDD) in a text, or nothing."""
    match = _DATE.search(text.replace("-", ""))
    return match[1] if match else ""


def safe_name(text: str) -> str:
    """A name for files from any text: letters and digits of any script, `.`, `_` and `-`."""
    composed = unicodedata.normalize("NFC", text)  # file systems differ in how they spell an umlaut
    kept = "".join(c if _in_names(c) else " " for c in composed)
    name = re.sub(r"\s+", "_", kept).strip("._-")
    short = name.encode()[:_LONGEST].decode(errors="ignore")
    return short.rstrip("._-") or "unnamed"


def _in_names(character: str) -> bool:
    # marks are the vowels of many scripts
    return character in "._-" or unicodedata.category(character)[0] in "LMN"
