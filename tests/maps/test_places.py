"""Which scenes become one map: cities, places beside each other, years; and on which grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.maps.places import (
    MapName,
    map_grid,
    maps_of_tags,
    say_maps,
    say_span,
    with_cities,
)
from builtup.runs.results import PredictionTags
from builtup.sensors.radar.headers import SceneHeaders
from builtup.sensors.radar.names import scene_years
from builtup.sensors.radar.scenes import Band, Scene

UTM = CRS.from_epsg(32638)
BANDS: Any = None  # nothing here asks for a band's header


def grid(column: float = 0, row: float = 0, size: int = 100) -> Grid:
    """A grid of 10 m near Mosul, so many pixels to the east and south of the first."""
    return Grid(UTM, Affine(10, 0, 330_000 + 10 * column, 0, -10, 4_020_000 - 10 * row), size, size)


def scene(
    place: Grid, date: str = "20150101", folder: str = "Mosul_2015", tile: str = "", id: str = ""
) -> SceneHeaders:
    name = id or f"burst_{place.transform.c:.0f}_{place.transform.f:.0f}_{date}"
    band = Band(Location(f"/data/{folder}/{name}_vv.tif"))
    city = folder.rpartition("_")[0] or folder
    return SceneHeaders(Scene(f"{name}_{{}}", city, date, band, band, tile), BANDS, BANDS, place)


def keys(*scenes: SceneHeaders, years: str = "apart") -> dict[str, int]:
    return {one.key: len(one.dates) for one in with_cities(scenes, years)}


@pytest.mark.parametrize("gap", [90, 100])
def test_places_that_overlap_or_touch_on_one_grid_are_one_map(
    caplog: pytest.LogCaptureFixture, gap: int
) -> None:
    scenes = [scene(grid(row=r), d) for d in ("20150101", "20150113") for r in (0, gap, 2 * gap)]
    (one,) = with_cities(scenes)
    assert (one.key, len(one.dates), one.parts) == ("38SLF_Mosul", 6, 3)
    say_maps([one])
    assert caplog.messages == [
        "38SLF_Mosul: 3 places beside each other, on one grid, are mapped as one"
    ]


def test_a_place_between_two_joins_them() -> None:
    west, east, middle = grid(), grid(180), grid(90)
    assert len(with_cities([scene(west), scene(east, "20150102")])) == 2
    scenes = [scene(west), scene(east, "20150102"), scene(middle, "20150103")]
    assert keys(*scenes) == {"38SLF_Mosul": 3}


@pytest.mark.parametrize(
    "other", [grid(row=102), grid(row=90.5), Grid(CRS.from_epsg(32637), grid().transform, 100, 100)]
)
def test_places_apart_or_on_other_pixels_are_maps_of_their_own_and_said(
    caplog: pytest.LogCaptureFixture, other: Grid
) -> None:
    maps = with_cities([scene(grid()), scene(other, "20150102")])
    assert len(maps) == 2
    say_maps(maps)
    (said,) = caplog.messages
    assert said.startswith("Mosul: comes as 2 places or tiles whose grids do not join, a map each:")
    assert all(one.key in said for one in maps)


def test_the_tiles_of_a_city_are_a_map_each_and_said(caplog: pytest.LogCaptureFixture) -> None:
    maps = with_cities([scene(grid(), tile="38SLF"), scene(grid(50), tile="38SMF")])
    assert [one.key for one in maps] == ["38SLF_Mosul", "38SMF_Mosul"]
    say_maps(maps)
    assert "a map each: 38SLF_Mosul, 38SMF_Mosul" in caplog.text
    caplog.clear()
    say_maps(with_cities([scene(grid()), scene(grid(), folder="Erbil_2015")]))
    assert not caplog.messages


@pytest.mark.parametrize("tile", ["38SLF", ""])
def test_years_of_a_city_are_maps_unless_their_mean_is_asked_for(
    caplog: pytest.LogCaptureFixture, tile: str
) -> None:
    scenes = [
        scene(grid(), "20200108", "Mosul_2020", tile, "c"),
        scene(grid(), "20141230", "Mosul_2015", tile, "a"),
        scene(grid(), "20150108", "Mosul_2015", tile, "b"),
    ]
    maps = with_cities(scenes)
    assert [(one.key, one.year, len(one.dates)) for one in maps] == [
        ("38SLF_Mosul", "2015", 2),
        ("38SLF_Mosul_2020", "2020", 1),
    ]
    say_maps(maps)
    assert caplog.messages == [
        "Mosul: a map for each year of its folders: 38SLF_Mosul (2015), 38SLF_Mosul_2020 (2020); "
        "years=mean averages them"
    ]
    (one,) = with_cities(scenes, "mean")
    assert (one.key, one.year, len(one.dates)) == ("38SLF_Mosul", "", 3)


#: What predicted scenes of one city say: the years of their folders, and their dates.
told = st.lists(
    st.tuples(
        st.sampled_from(["", "2015", "2019", "2020"]), st.sampled_from(["20141230", "20200101", ""])
    ),
    min_size=1,
    max_size=6,
)


def tags(year: str, city: str = "38SLF_Mosul") -> PredictionTags:
    return PredictionTags("s_{}", city, 1, 1, "run", 0.5, year=year)


@given(told)
def test_the_chain_names_maps_as_predict_does(scenes: list[tuple[str, str]]) -> None:
    """Tags have a year where the city has several, as lists of tiles and `predict` have it."""
    headers = [
        scene(grid(), date, f"Mosul_{year}" if year else "Mosul", "38SLF", str(i))
        for i, (year, date) in enumerate(scenes)
    ]
    maps = with_cities(headers)
    predicted = {h.scene.scene_id: MapName(of.key, of.year) for of in maps for h in of.dates}
    wanted = [predicted[h.scene.scene_id] for h in headers]
    days = [date for _, date in scenes]
    years = scene_years(scenes)
    chain = [(tags(year), day) for year, day in zip(years, days, strict=True)]
    assert maps_of_tags(chain, "apart") == wanted
    named = [(tags(of.year, of.key), day) for of, day in zip(wanted, days, strict=True)]
    assert maps_of_tags(named, "apart") == wanted
    for some in (named[:1], named[-1:]):  # whatever else is there
        assert maps_of_tags(some, "apart") == [MapName(some[0][0].city, some[0][0].year)]
    for all_of_them in (chain, named):
        assert set(maps_of_tags(all_of_them, "mean")) == {MapName("38SLF_Mosul", "")}


def test_a_choice_of_years_is_said_where_predict_has_not(caplog: pytest.LogCaptureFixture) -> None:
    chain = [(tags("2020"), ""), (tags("2015"), ""), (tags("", "38SLF_Erbil"), "20150101")]
    maps_of_tags(chain, "mean")
    maps_of_tags(chain[1:], "apart")
    maps_of_tags([(tags("2015"), ""), (tags("2020", "38SLF_Mosul_2020"), "")], "apart")
    assert not caplog.messages
    maps_of_tags(chain, "apart")
    assert caplog.messages == [
        "38SLF_Mosul: a map for each year of its folders: 38SLF_Mosul (2015), "
        "38SLF_Mosul_2020 (2020); years=mean averages them"
    ]


def test_a_year_s_key_is_never_that_of_another_city() -> None:
    chain = [(tags("2015"), ""), (tags("2020"), ""), (tags("", "38SLF_Mosul_2020"), "")]
    assert maps_of_tags(chain, "apart") == [
        ("38SLF_Mosul", "2015"), ("38SLF_Mosul_2020_2", "2020"), ("38SLF_Mosul_2020", ""),
    ]  # fmt: skip


def test_scenes_of_runs_that_knew_no_years_are_in_the_map_of_the_city() -> None:
    assert (
        maps_of_tags([(tags(""), "20150101"), (tags("2020"), "")], "apart")
        == [("38SLF_Mosul", "")] * 2
    )
    old = [(tags(""), "20150101"), (tags("2020", "38SLF_Mosul_2020"), "")]
    assert maps_of_tags(old, "apart") == [("38SLF_Mosul", ""), ("38SLF_Mosul_2020", "2020")]


def test_one_year_s_folder_is_one_map_whatever_its_dates() -> None:
    assert keys(scene(grid()), scene(grid(), "20170101")) == {"38SLF_Mosul": 2}
    plain = [scene(grid(), date, "Mosul") for date in ("20150101", "20200101")]
    assert keys(*plain) == {"38SLF_Mosul": 2}


def test_a_scene_named_like_a_map_is_renamed() -> None:
    (one,) = with_cities([scene(grid(), id="38SLF_Mosul")])
    assert one.dates[0].scene.scene_id == "38SLF_Mosul_scene_{}"


def test_the_year_is_that_of_the_city_s_folder() -> None:
    assert scene(grid(), folder="New York_2015/20150101_18TWL").scene.year == ""  # of no such city
    band = Band(Location("/data/Mosul_2015/38SLF/x_vv.tif"))
    assert Scene("x_{}", "Mosul", "20141230", band, band).year == "2015"
    assert Scene("x_{}", "Erbil", "20141230", band, band).year == ""
    assert Scene("x_{}", "Erbil", "", band, band, folder="Erbil_2019").year == "2019"
    relative = Band(Location(str(Path("Mosul_2016") / "x_vv.tif")))
    assert Scene("x_{}", "Mosul", "", relative, relative).year == "2016"


def test_a_map_has_the_grid_of_most_dates_or_that_of_all_its_parts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b, shifted = grid(), grid(row=90), grid(row=90.5)
    assert map_grid("Mosul", [a, a, grid(row=10)]) == (a, False)
    whole, joined = map_grid("Mosul", [a, b])
    assert (joined, whole.shape, whole.bounds) == (True, (190, 100), (
        a.bounds[0], b.bounds[1], a.bounds[2], a.bounds[3],
    ))  # fmt: skip
    assert not caplog.messages
    assert map_grid("Mosul", [a, a, shifted]) == (a, False)
    assert "Mosul: 1 of its rasters lie mostly beside" in caplog.text


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (("20150108", "20151230"), False),
        (("20150108", "20160109"), False),
        (("20200108", "", "20150108"), True),
        (("20150108", "20160301"), True),
        ((), False),
    ],
)
def test_dates_that_lie_years_apart_are_said_where_they_are_averaged(
    caplog: pytest.LogCaptureFixture, days: tuple[str, ...], said: bool
) -> None:
    say_span("Mosul", days)
    assert bool(caplog.messages) is said


def test_folders_that_give_one_key_are_said(caplog: pytest.LogCaptureFixture) -> None:
    band = [Band(Location(f"/data/{name}_2015/{name[-1]}_vv.tif")) for name in ("A b", "A_b")]
    scenes = [
        SceneHeaders(Scene(f"{i}_{{}}", "A_b", "20150101", b, b), BANDS, BANDS, grid())
        for i, b in enumerate(band)
    ]
    say_maps(with_cities(scenes))
    assert caplog.messages == ["A_b: folders of one city by their names: A b, A_b"]


def test_each_image_is_a_map_of_its_own() -> None:
    from builtup.geo.grid import Grid
    from builtup.maps.places import one_each
    from builtup.sensors.optical.stored_images import ImageHeaders, StoredImage

    grid = Grid(None, Affine.identity(), 10, 10)
    images = [
        ImageHeaders(StoredImage(f"{name}_{{}}", "Dole", Path(f"{name}.tif")), grid, grid, None)
        for name in ("a", "b")
    ]
    maps = one_each(images)
    assert [(of.name, of.key, len(of.dates)) for of in maps] == [("Dole", "a", 1), ("Dole", "b", 1)]
