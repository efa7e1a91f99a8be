"""Which files of a city's folder are its ground truth, however they are spelled."""

from __future__ import annotations

from pathlib import Path

import pyogrio.raw
import pytest
import shapely

from builtup.errors import InputError
from builtup.tiles.labels import city_labels, find_labels, labelled_area, truths_below
from helpers import write_polygons

BOX = shapely.box(300_000, 3_999_000, 300_100, 3_999_100)
KEY = "38SLF_Mosul"


def write(folder: Path, *names: str) -> Path:
    """Files of one polygon by their names, in the format of their suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        if path.suffix == ".gpkg":
            pyogrio.raw.write(
                path, shapely.to_wkb([BOX]), [], [], geometry_type="Polygon", crs="EPSG:32638"
            )
        elif path.suffix.lower() == ".shp":
            made = write_polygons(path.with_suffix(".shp"), [BOX])
            for side in [] if path.suffix == ".shp" else sorted(folder.glob(f"{made.stem}.*")):
                side.rename(side.with_suffix(side.suffix.upper()))
        else:
            path.write_bytes(b"something")
    return folder


@pytest.mark.parametrize(
    "area",
    [
        f"{KEY}_labelled_area.shp",
        f"{KEY}_Labelled_Area.shp",
        f"{KEY}_labeled_area.shp",
        f"{KEY}_labelled-area.SHP",
        f"{KEY}_labelled_area.gpkg",
        "38slf_mosul_labelled area.gpkg",
    ],
)
@pytest.mark.parametrize("labels", [f"{KEY}.shp", f"{KEY}.SHP", f"{KEY}.gpkg", "38SLF_mosul.shp"])
def test_near_names_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, labels: str, area: str
) -> None:
    write(tmp_path / "Mosul_2015", labels, area)
    found = city_labels(tmp_path, "Mosul_2015", KEY)
    assert found.polygons.name == labels
    assert found.labelled_area is not None
    assert found.labelled_area.name == area
    assert labelled_area(found.polygons) == found.labelled_area
    assert all(file.exists() for file in found.files)
    assert len(found.files) >= sum(4 if n.lower().endswith("shp") else 1 for n in (labels, area))
    assert not caplog.messages


@pytest.mark.parametrize(
    "name", [f"{KEY}_aoi.shp", f"{KEY}_labelled.gpkg", f"{KEY}_labelled_area.kmz", f"{KEY}.parquet"]
)
def test_what_begins_with_the_key_and_is_not_read_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    folder = write(tmp_path / "Mosul_2015", f"{KEY}.shp", "38SMF_Mosul.shp", name)
    for _ in range(2):
        found = find_labels(folder, KEY)
        assert found is not None
        assert found.labelled_area is None
    (said,) = caplog.messages
    assert said.startswith(f"{folder}: not read: {name}; ")
    assert f"{KEY}_labelled_area.shp" in said


def test_of_two_files_the_documented_one_is_read_and_the_other_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    areas = [f"{KEY}_Labeled_Area.shp", f"{KEY}_labelled_area.gpkg"]
    folder = write(tmp_path / "Mosul_2015", f"{KEY}.gpkg", f"{KEY}.shp", *areas)
    found = find_labels(folder, KEY)
    assert found is not None
    assert found.polygons == folder / f"{KEY}.shp"
    assert found.labelled_area == folder / areas[1]
    assert f"not read: {areas[0]}, {KEY}.gpkg;" in caplog.text


def test_a_city_without_polygons_is_refused_with_what_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "Mosul_2015", "Mosul.shp", "38SMF_Mosul.gpkg")
    assert find_labels(folder, KEY) is None
    with pytest.raises(InputError, match=r"under its key \(there are: Mosul\.shp, 38SMF_Mosul"):
        city_labels(tmp_path, "Mosul_2015", KEY)
    with pytest.raises(InputError, match=r"38SLF_Mosul\.shp: no such file: the city has no pol"):
        city_labels(tmp_path, "Erbil_2015", KEY)


@pytest.mark.parametrize(
    ("city", "key"),
    [
        ("New York", "38SLF_New_York"),
        ("St. John's", "38SLF_St._John_s"),
        ("Mosul [old]", "38SLF_Mosul_old"),
        ("A*?", "38SLF_A"),
    ],
)
def test_the_labels_of_a_city_are_found_as_its_folder_spells_it_or_by_its_key(
    tmp_path: Path, city: str, key: str
) -> None:
    spelled = write(tmp_path / "a" / f"{city}_2015", f"38SLF_{city}.shp")
    by_key = write(tmp_path / "b" / f"{city}_2015", f"{key}.shp")
    for folder in (spelled, by_key):
        (file,) = folder.glob("*.shp")
        assert truths_below(folder.parent, key) == [file]
        assert city_labels(folder.parent, folder.name, key).polygons == file


def test_of_a_year_the_folders_of_other_years_hold_no_truth(tmp_path: Path) -> None:
    for folder in ("Mosul_2015", "Mosul_2020", "labels"):
        write(tmp_path / folder, f"{KEY}.shp")
    assert [p.parent.name for p in truths_below(tmp_path, KEY)] == [
        "Mosul_2015", "Mosul_2020", "labels",
    ]  # fmt: skip
    assert [p.parent.name for p in truths_below(tmp_path, KEY, "2020")] == ["Mosul_2020", "labels"]
