"""What is mapped, as a page says it."""

from __future__ import annotations

from pathlib import Path

import rasterio

from builtup.report.mapped import doubt_notes, mapped_rows
from report_data import add_city


def test_a_row_has_area_count_and_links_to_what_is_there(tmp_path: Path) -> None:
    maps = add_city(tmp_path)
    (row,) = mapped_rows(maps.folder, [maps.rasters()])
    assert (row.city, row.polygons, row.threshold) == ("38SLF_Alpha", 1, 0.5)
    assert row.hectares is not None and round(row.hectares) == 24
    assert [name for name, _ in row.links] == ["polygons", "mask", "probability"]
    assert all((maps.folder / href).is_file() for _, href in row.links)


def test_without_polygons_no_area_is_made_up(tmp_path: Path) -> None:
    maps = add_city(tmp_path)
    maps.rasters().mask.with_suffix(".gpkg").unlink()
    (row,) = mapped_rows(maps.folder, [maps.rasters()])
    assert (row.polygons, row.hectares) == (None, None)


def test_a_doubt_names_all_its_cities(tmp_path: Path) -> None:
    maps = add_city(tmp_path)
    add_city(tmp_path, "38SMB", "Beta")
    both = [maps.rasters(), maps.rasters("38SMB_Beta")]
    for rasters, text in zip(both, ("a; b", "b"), strict=True):
        with rasterio.open(rasters.mask, "r+") as dataset:
            dataset.update_tags(BUILTUP_DOUBTS=text)
    assert doubt_notes(both) == (
        "Doubt about 38SLF_Alpha: a.",
        "Doubt about 38SLF_Alpha, 38SMB_Beta: b.",
    )
