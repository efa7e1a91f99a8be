"""Scenes from STAC items and item collections (JSON): assets of VV and VH.

An asset is found by its key (`vv`), by `sar:polarizations`, or by the names of its bands. The items
of one document are dates of its places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builtup.errors import BuiltupError, InputError
from builtup.geo.locations import Allow, asset_location
from builtup.jobs.retries import Retries
from builtup.sensors.radar.names import date_in, safe_name
from builtup.sensors.radar.products import crossed_in, is_side_layer
from builtup.sensors.radar.scenes import Band, Scene
from builtup.sensors.stac import REMEDY, RETRIES, items_of, objects, read_document

__all__ = ["read_items"]

_ROLES = {"thumbnail", "overview", "metadata", "visual"}
_UNIT_KEYS = ("unit", "sar:units", "raster:unit")


def read_items(
    document: str, allow: Allow, retries: Retries = RETRIES
) -> tuple[list[Scene], list[BuiltupError]]:
    """The scenes of a document (path or https URL), and the problems of items that are none.

    Raises InputError where the document is no item and no collection of items.
    """
    content = read_document(document, allow, retries)
    items = items_of(content, document.partition("?")[0])
    name = safe_name(Path(document.partition("?")[0]).stem)
    scenes: list[Scene] = []
    problems: list[BuiltupError] = []
    for item in items:
        try:
            scenes.append(_scene(item, name, document, allow))
        except BuiltupError as e:
            problems.append(e)
    return scenes, problems


def _scene(item: Mapping[str, Any], city: str, document: str, allow: Allow) -> Scene:
    shown = document.partition("?")[0]
    identifier, properties, assets = (item.get(key) for key in ("id", "properties", "assets"))
    if not isinstance(identifier, str) or not identifier or not isinstance(assets, dict):
        raise InputError(shown, "an item without id or assets", REMEDY)
    bands = {}
    for polarisation in ("vv", "vh"):
        key, asset, number = _find(assets, polarisation, identifier, shown)
        href = asset.get("href")
        if not isinstance(href, str):
            raise InputError(shown, f"item {identifier}, asset {key}: no href", REMEDY)
        location = asset_location(href, document, allow)
        holders = _holders(asset, number)
        bands[polarisation] = Band(
            location,
            tuple(_declared(holders, key)),
            number,
            nodata=_number(holders, ("nodata", "raster:nodata"), identifier, shown),
            scale=_number(holders, ("scale", "raster:scale"), identifier, shown),
            offset=_number(holders, ("offset", "raster:offset"), identifier, shown),
        )
    known = properties if isinstance(properties, dict) else {}
    moment = str(known.get("datetime") or known.get("start_datetime") or "")
    return Scene(
        scene_id=f"{safe_name(identifier)}_{{}}",
        city=city,
        date=date_in(moment[:10]) or date_in(identifier),
        vv=bands["vv"],
        vh=bands["vh"],
    )


def _find(
    assets: Mapping[str, Any], polarisation: str, identifier: str, shown: str
) -> tuple[str, Mapping[str, Any], int]:
    """The key and content of the asset of a polarisation, and its band (0 where it has one)."""
    usable = {k: a for k, a in assets.items() if isinstance(a, dict) and not _is_side(k, a)}
    for key, asset in usable.items():
        if key.lower() == polarisation:
            return key, asset, 0
    found = [
        (key, asset, number)
        for key, asset in usable.items()
        if (number := _band_number(asset, polarisation)) is not None
    ]
    if len(found) != 1:
        if not found and any(map(crossed_in, usable)):
            problem = f"item {identifier}: HH or HV, while networks are trained on VV and VH"
            raise InputError(shown, problem, "give items of VV and VH")
        problem = "no asset" if not found else f"{len(found)} assets"
        keys = ", ".join(sorted(map(str, assets))[:12]) or "none"
        raise InputError(
            shown,
            f"item {identifier}: {problem} of {polarisation.upper()} (assets: {keys})",
            "give items with one asset vv and one vh",
        )
    return found[0]


def _is_side(key: str, asset: Mapping[str, Any]) -> bool:
    """Whether an asset is no backscatter, by its roles, its key or the name of its file."""
    roles, href = asset.get("roles"), str(asset.get("href") or "").partition("?")[0]
    named = is_side_layer(key) or is_side_layer(Path(href).stem)
    return named or (isinstance(roles, list) and bool(_ROLES & {str(role) for role in roles}))


def _band_number(asset: Mapping[str, Any], polarisation: str) -> int | None:
    """The band of a polarisation in an asset, 0 where that has one band, None where none is."""
    listed = asset.get("sar:polarizations")
    names = [str(p).lower() for p in listed] if isinstance(listed, list) else []
    for key in ("bands", "eo:bands", "raster:bands"):
        if not names:
            bands = objects(asset.get(key))
            names = [str(b.get("name") or b.get("description") or "").lower() for b in bands]
    if names.count(polarisation) != 1:
        return None
    return 0 if len(names) == 1 else names.index(polarisation) + 1


def _holders(asset: Mapping[str, Any], number: int) -> list[Mapping[str, Any]]:
    """What may say something of a band's values: the entries of the band, then the asset."""
    found: list[Mapping[str, Any]] = []
    for name in ("bands", "raster:bands"):
        found += objects(asset.get(name))[max(0, number - 1) :][:1]
    return [*found, asset]


def _declared(holders: Sequence[Mapping[str, Any]], key: str) -> Iterator[str]:
    """What an asset says of its unit, each with its place."""
    for holder in holders:
        for field in _UNIT_KEYS:
            if holder.get(field):
                yield f"asset {key}, {field}: {str(holder[field])[:80]}"


def _number(
    holders: Sequence[Mapping[str, Any]], fields: Sequence[str], identifier: str, shown: str
) -> float | None:
    """A number that an asset says of its values; `nan`, `inf` and `-inf` are texts in JSON."""
    for holder in holders:
        for field in fields:
            said = holder.get(field)
            if said is None:
                continue
            try:
                return float(said)
            except (TypeError, ValueError) as e:
                problem = f"item {identifier}: {field} is {str(said)[:40]!r}, no number"
                raise InputError(shown, problem, "correct the item") from e
    return None
