"""What a STAC document may point to, and what it may not unless the user allows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builtup.errors import BuiltupError, InputError
from builtup.geo.locations import Allow, Location, asset_location, check_allow, user_location

NONE = Allow()
WEB = "https://catalogue.org/items/item.json"


@pytest.fixture
def document(tmp_path: Path) -> str:
    (tmp_path / "items").mkdir()
    return str(tmp_path / "items" / "item.json")


def test_files_beside_the_document_and_below_are_read(document: str) -> None:
    folder = Path(document).parent
    for href, path in (("vv.tif", "vv.tif"), ("./a/../b/vv.tif", "b/vv.tif")):
        assert asset_location(href, document, NONE) == Location(str(folder / path))
    href = (folder / "a%20b.tif").as_uri().replace("%25", "%")
    assert asset_location(href, document, NONE).path.name == "a b.tif"


def test_a_space_in_a_path_is_read_as_it_stands_and_as_in_urls(document: str) -> None:
    folder = Path(document).parent
    (folder / "my scenes").mkdir()
    wanted = folder / "my scenes" / "vv.tif"
    wanted.touch()
    for href in ("my scenes/vv.tif", "./my%20scenes/vv.tif", wanted.as_uri()):
        assert asset_location(href, document, NONE).path == wanted
    (folder / "100%20.tif").touch()
    assert asset_location("100%20.tif", document, NONE).path.name == "100%20.tif"


def test_object_storage_and_https_are_mapped_to_gdal(document: str) -> None:
    for href, name in (
        ("s3://bucket/a/vv.tif", "/vsis3/bucket/a/vv.tif"),
        ("gs://bucket/vv.tif", "/vsigs/bucket/vv.tif"),
        ("https://host/vv.tif?sig=1", "/vsicurl/https://host/vv.tif?sig=1"),
    ):
        assert asset_location(href, document, NONE) == Location(name)
    assert asset_location("../vv.tif", WEB, NONE).name == "/vsicurl/https://catalogue.org/vv.tif"


@pytest.mark.parametrize(
    ("href", "message"),
    [
        ("../vv.tif", "outside its folder"),
        ("/etc/vv.tif", "outside its folder"),
        ("file:///etc/vv.tif", "outside its folder"),
        ("link/vv.tif", "outside its folder"),
        ("scene.vrt", "a VRT"),
        ("https://host/scene.VRT?x=1", "a VRT"),
        ("/vsicurl/https://host/vv.tif", "GDAL's own file systems"),
        ("/vsizip/vsicurl/https://host/a.zip/vv.tif", "GDAL's own file systems"),
        ("/vsimem/vv.tif", "GDAL's own file systems"),
        ("http://host/vv.tif", "scheme http is not read"),
        ("ftp://host/vv.tif", "scheme ftp is not read"),
        ("HDF5:/etc/x://y", "not read"),
        ("GTIFF_DIR:1:/etc/vv.tif", "no scheme that is read"),
        ("%2e%2e/vv.tif", "outside its folder"),
        ("%2fetc/vv.tif", "outside its folder"),
        ("scene%2evrt", "a VRT"),
        ("x%00.tif", "no address"),
        ("vv.tif\n", "href is"),
        (" vv.tif", "href is"),
        ("https://host/a b.tif", "href is"),
        ("", "href is"),
        ("https://[::1/x.tif", "no address"),
        ("https://host\u2100/x.tif", "no address"),
        ("file://[::1/x.tif", "no address"),
        ("file:///x%00.tif", "no address"),
        ("\udc80.tif", "href is"),
    ],
)
def test_what_an_untrusted_document_may_not_name(document: str, href: str, message: str) -> None:
    elsewhere = Path(document).parents[1] / "elsewhere"
    elsewhere.mkdir()
    (Path(document).parent / "link").symlink_to(elsewhere)
    with pytest.raises(InputError, match=message) as error:
        asset_location(href, document, NONE)
    assert str(error.value).startswith(document)


@pytest.mark.parametrize("href", ["file:///etc/vv.tif", "/vsimem/vv.tif", "//[::1/vv.tif"])
def test_a_document_elsewhere_names_no_local_file(href: str) -> None:
    with pytest.raises(InputError):
        asset_location(href, WEB, NONE)


def test_allow_trusts_folders_servers_and_gdal_names(document: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for href, prefix in (
        ("../other/vv.tif", str(other)),
        ("../other/scene.vrt", str(other)),
        ("https://host/a/scene.vrt", "https://host/a"),
        ("http://host/a/vv.tif", "http://host/"),
        ("/vsizip/data.zip/vv.tif", "/vsizip/"),
    ):
        assert asset_location(href, document, Allow.parse(f"nothing; {prefix}")).any_format


@pytest.mark.parametrize(
    ("href", "prefix"),
    [
        ("https://host.evil.org/scene.vrt", "https://host"),
        ("https://host/ok/../scene.vrt", "https://host/ok"),
        ("https://host/ok/%2e%2e/scene.vrt", "https://host/ok"),
        ("../others/scene.vrt", "{tmp}/other"),
        ("/vsizip/ok/../etc/x.tif", "/vsizip/ok"),
    ],
)
def test_a_prefix_holds_whole_names_only(
    document: str, tmp_path: Path, href: str, prefix: str
) -> None:
    with pytest.raises(InputError):
        asset_location(href, document, Allow.parse(prefix.format(tmp=tmp_path)))


@pytest.mark.parametrize("prefix", ["/", "https://", "/vsi"])
def test_a_prefix_of_everything_is_refused(prefix: str) -> None:
    with pytest.raises(BuiltupError, match="allows everything"):
        check_allow(Allow.parse(prefix))


def test_a_user_names_what_they_like_but_unread_schemes() -> None:
    assert user_location("data/vv.tif", NONE) == Location("data/vv.tif")
    assert user_location("s3://b/vv.tif", NONE).name == "/vsis3/b/vv.tif"
    with pytest.raises(InputError, match="no address"):
        user_location("https://[::1/vv.tif", NONE)
    for text in ("http://host/vv.tif", "/vsizip/a.zip/vv.tif"):
        with pytest.raises(InputError, match="add it to allow"):
            user_location(text, NONE)


def test_what_is_shown_has_no_signature() -> None:
    assert user_location("https://h/vv.tif?token=secret", NONE).shown == "https://h/vv.tif"
