"""What stands beside a TIFF: counted as GDAL counts it, named, and never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterioCRS

from builtup.errors import InputError
from builtup.geo.grid import Grid
from builtup.geo.locations import Location
from builtup.geo.open_raster import open_location
from builtup.geo.rasters import gdal_env
from builtup.geo.side_files import SideFiles, crs_beside, has_mask, side_files, unread_beside
from builtup.geo.windows import Window
from helpers import CRS, TRANSFORM, speckle, write_raster

BAND = '<PAMDataset>{}<PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
WORLD = "10\n0\n0\n-10\n300005\n3999995\n"


def beside(path: Path) -> SideFiles:
    with gdal_env(), open_location(Location(str(path))) as raster:
        return side_files(raster.dataset, 1)


def grid(path: Path) -> Grid:
    with gdal_env(), open_location(Location(str(path))) as raster:
        return Grid.of(raster.dataset)


def raster(folder: Path, **how: object) -> Path:
    return write_raster(folder / "a.tif", speckle((20, 30)), **how)  # type: ignore[arg-type]


def aux(path: Path, band: str = "", whole: str = "") -> Path:
    found = path.with_name(f"{path.name}.aux.xml")
    found.write_text(BAND.format(whole, band))
    return found


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_alone_has_nothing_beside(tmp_path: Path) -> None:
    assert beside(raster(tmp_path)) == SideFiles()


def test_no_data_of_an_aux_xml_counts_and_nothing_is_written(tmp_path: Path) -> None:
    path = raster(tmp_path)
    side = aux(path, "<NoDataValue>9</NoDataValue>")
    before = snapshot(tmp_path)
    found = beside(path)
    assert found.files == (side,)
    assert found.told == ("its .aux.xml gives no-data 9",)
    with gdal_env(), open_location(Location(str(path))) as opened:
        assert opened.dataset.nodata == 9
        opened.read(Window(0, 0, 20, 30), 1)
        opened.read_mask(Window(0, 0, 20, 30), 1)
        opened.dataset.tags(1)
    assert snapshot(tmp_path) == before


def test_an_aux_xml_that_holds_statistics_only_does_not_count(tmp_path: Path) -> None:
    path = raster(tmp_path)
    statistics = '<MDI key="STATISTICS_MAXIMUM">1</MDI><MDI key="STATISTICS_APPROXIMATE">YES</MDI>'
    aux(path, f"<Metadata>{statistics}</Metadata>")
    assert beside(path) == SideFiles()


def test_what_an_aux_xml_contradicts_is_said_and_two_no_datas_count(tmp_path: Path) -> None:
    path = raster(tmp_path, nodata=5)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(UNITS="dB")
    whole = '<SRS>EPSG:32637</SRS><Metadata><MDI key="UNITS">linear</MDI></Metadata>'
    aux(path, "<NoDataValue>9</NoDataValue><Scale>0.1</Scale>", whole)
    found = beside(path)
    assert found.contradicted == (
        "its .aux.xml gives CRS EPSG:32637, the TIFF EPSG:32638: the former counts, as in GDAL",
        "its .aux.xml gives no-data 9, the TIFF 5: both count",
    )
    assert found.told == ("its .aux.xml gives scale 0.1",)
    assert found.nodata == (5,)
    assert ("UNITS", "dB") in found.declared  # a tag of the TIFF that GDAL hides then
    assert grid(path).crs == RasterioCRS.from_epsg(32637)


def test_an_aux_xml_that_is_none_is_named(tmp_path: Path) -> None:
    path = raster(tmp_path)
    path.with_name("a.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG")
    (said,) = beside(path).contradicted
    assert said.startswith("its .aux.xml cannot be read (") and said.endswith("does not count")


@pytest.mark.parametrize("suffix", [".tfw", ".tifw", ".wld", ".TFW"])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_world_file_gives_the_place(tmp_path: Path, suffix: str) -> None:
    path = raster(tmp_path, transform=None)
    path.with_suffix(suffix).write_text(WORLD)
    assert grid(path).transform == TRANSFORM
    found = beside(path)
    assert found.files == (path.with_suffix(suffix),)
    assert found.told == (f"its place is that of the world file ({suffix})",)


def test_a_world_file_beside_a_place_of_the_file_s_own_is_held_against_it(tmp_path: Path) -> None:
    path = raster(tmp_path)
    path.with_suffix(".tfw").write_text(WORLD)
    assert beside(path) == SideFiles()
    path.with_suffix(".tfw").write_text(WORLD.replace("300005", "300105"))
    found = beside(path)
    assert found.files == ()
    assert found.contradicted == (
        "its world file (.tfw) gives another place than the TIFF, which counts",
    )
    assert grid(path).transform == TRANSFORM


def hide(path: Path, hidden: NDArray[np.bool_], *, internal: bool) -> None:
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(path, "r+") as dataset,
    ):
        dataset.write_mask(~hidden)


@pytest.mark.parametrize("internal", [True, False])
def test_masks_inside_and_beside_hide_the_same(tmp_path: Path, internal: bool) -> None:
    path = raster(tmp_path)
    hidden = np.zeros((20, 30), bool)
    hidden[3:5] = True
    hide(path, hidden, internal=internal)
    assert len(list(tmp_path.iterdir())) == 2 - internal
    assert len(beside(path).files) == 1 - internal
    with gdal_env(), open_location(Location(str(path))) as opened:
        assert has_mask(opened.dataset, 1)
        window = Window(2, 0, 5, 30)
        np.testing.assert_array_equal(opened.read_mask(window, 1) == 0, hidden[2:7])


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    path = raster(tmp_path)
    write_raster(tmp_path / "other.tif", np.zeros((10, 30), np.uint8))
    (tmp_path / "other.tif").rename(tmp_path / "a.tif.msk")
    with pytest.raises(InputError, match=r"a\.tif\.msk: no mask of a\.tif: another size"):
        beside(path)


def test_a_prj_gives_the_crs_that_a_file_lacks(tmp_path: Path) -> None:
    path = raster(tmp_path, crs=None)
    prj = path.with_suffix(".prj")
    with rasterio.open(path) as dataset:
        assert crs_beside(dataset) is None
        prj.write_text(RasterioCRS.from_string(CRS).to_wkt(version="WKT1_ESRI"))
        found = crs_beside(dataset)
        assert found is not None and (found[0].to_epsg(), found[1]) == (32638, prj)
        prj.write_text("nonsense")
        with pytest.raises(InputError, match=r"a\.prj: its CRS is not understood"):
            crs_beside(dataset)


def test_rotated_places_are_compared_too(tmp_path: Path) -> None:
    place = Affine(8, 6, 300_000, 6, -8, 4_000_000)
    path = raster(tmp_path, transform=place)
    centre = place @ (0.5, 0.5)
    path.with_suffix(".tfw").write_text(f"8\n6\n6\n-8\n{centre[0]}\n{centre[1]}\n")
    assert beside(path) == SideFiles()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("suffix", "world"),
    [(".png", ".pgw"), (".jpg", ".jgw"), (".jpg", ".jpgw"), (".jpeg", ".jgw"), (".tif", ".tfw"),
     (".tif", ".TFW"), (".png", ".wld")],
)  # fmt: skip
def test_what_files_beside_a_picture_say_is_told_where_they_are_not_read(
    tmp_path: Path, suffix: str, world: str
) -> None:
    path = tmp_path / f"a{suffix}"
    driver = {".png": "PNG", ".tif": "GTiff"}.get(suffix, "JPEG")
    values = np.zeros((3, 20, 30), np.uint8)

    def beside(**profile) -> list[str]:
        settings = {"count": 3, "height": 20, "width": 30, "dtype": "uint8", **profile}
        with gdal_env():
            with rasterio.open(path, "w", driver=driver, **settings) as out:
                out.write(values)
            with rasterio.open(path) as dataset:
                return unread_beside(dataset)

    assert beside() == []
    path.with_suffix(world).write_text("0.5\n0\n0\n-0.5\n300000.25\n3999999.75\n")
    assert beside() == [f"a place ({world})"]
    path.with_suffix(".prj").write_text("x")
    (tmp_path / f"a{suffix}.msk").touch()
    assert beside() == [f"a place ({world})", "a CRS (.prj)", "a mask (.msk)"]
    aux = tmp_path / f"a{suffix}.aux.xml"
    aux.write_text("<PAMDataset><PAMRasterBand><Metadata/></PAMRasterBand></PAMDataset>")
    assert len(beside()) == 3  # statistics alone
    aux.write_text("<PAMDataset><SRS>x</SRS><GeoTransform>1</GeoTransform></PAMDataset>")
    assert beside()[-1] == "CRS, place (.aux.xml)"
    aux.write_text("<PAMDataset>")
    assert beside()[-1] == "what cannot be read (.aux.xml)"
    if driver == "GTiff":
        aux.unlink()
        own = {"crs": CRS, "transform": Affine(0.5, 0, 300_000, 0, -0.5, 4_000_000)}
        assert beside(**own) == ["a mask (.msk)"]
        other = {**own, "transform": own["transform"] @ Affine.translation(4, 0)}
        assert beside(**other)[0] == f"another place ({world})"
