"""Rasters behind a server that fails: tried again, then named; a killed prediction goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builtup.errors import InputError
from builtup.geo import open_raster as opening
from builtup.geo.locations import Allow, Location, user_location
from builtup.geo.open_raster import gdal_endpoint, open_location
from builtup.geo.windows import Window
from builtup.jobs.retries import Retries
from builtup.sensors.radar.stac import read_items
from helpers import speckle, write_raster

SIZE = 600
SOON = Retries((0.01, 0.01))


class Server(ThreadingHTTPServer):
    """Serves a folder by byte ranges; the next `fail` requests of data are refused with 500."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.fail = 0
        self.refused = 0
        self.broken_from = 1 << 60  # requests of bytes from here on fail, always

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, with_body: bool) -> None:
        path = self.server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        first, last = 0, len(content) - 1
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            low, _, high = asked[6:].partition("-")
            first, last = int(low), min(int(high or last), last)
        if with_body and (self.server.fail > 0 or last >= self.server.broken_from):
            self.server.fail -= 1
            self.server.refused += 1
            self.send_error(500)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if with_body:
            self.wfile.write(content[first : last + 1])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setitem(opening._NETWORK, "GDAL_HTTP_MAX_RETRY", 0)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Server(tmp_path) as own:
        threading.Thread(target=own.serve_forever, daemon=True).start()
        yield own
        own.shutdown()


def test_a_read_that_fails_is_tried_again(
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = speckle((SIZE, SIZE))
    write_raster(tmp_path / "vv.tif", values)
    location = user_location(f"{server.address}/vv.tif", Allow((server.address,)))
    retries = Retries((1.0, 1.0), lambda seconds: setattr(server, "fail", 0))
    with open_location(location, retries) as raster:
        server.fail = 1000  # until we have waited: GDAL tries more than once itself
        with caplog.at_level(logging.WARNING):
            read = raster.read(Window(500, 0, 100, SIZE), 1)
    np.testing.assert_array_equal(read, values[500:])
    assert server.refused > 0
    assert f"{server.address}/vv.tif" in caplog.text
    assert "again in" in caplog.text


def test_an_object_that_is_not_there_or_cut_short_is_named_with_its_remedy(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = user_location("s3://maps/gone_vv.tif", Allow())
    with pytest.raises(InputError, match=r"gone_vv\.tif: cannot be read \(") as error:
        open_location(gone).__enter__()
    assert "check the address" in str(error.value)
    assert not caplog.text  # another try would not find it
    write_raster(tmp_path / "vv.tif", speckle((SIZE, SIZE)))
    content = (tmp_path / "vv.tif").read_bytes()
    bucket.put_object(Key="half_vv.tif", Body=content[: len(content) // 2])
    with (
        pytest.raises(InputError, match=r"half_vv\.tif: cannot be read in 3 tries .*is whole"),
        open_location(user_location("s3://maps/half_vv.tif", Allow()), SOON) as raster,
    ):
        raster.read(Window(0, 0, SIZE, SIZE), 1)


def test_an_object_that_cannot_be_read_is_named(server: Server, tmp_path: Path) -> None:
    write_raster(tmp_path / "vv.tif", speckle((SIZE, SIZE)))
    location = user_location(f"{server.address}/vv.tif?key=secret", Allow((server.address,)))
    server.folder = tmp_path
    (tmp_path / "vv.tif?key=secret").symlink_to(tmp_path / "vv.tif")
    with open_location(location, SOON) as raster:
        server.broken_from = SIZE * SIZE * 2
        with pytest.raises(InputError, match=r"vv\.tif: cannot be read in 3 tries") as error:
            raster.read(Window(500, 0, 100, SIZE), 1)
    assert "secret" not in str(error.value)
    assert "run again to go on" in str(error.value)


def test_an_object_that_is_absent_is_named_at_once(server: Server) -> None:
    location = user_location(f"{server.address}/no.tif", Allow((server.address,)))
    with pytest.raises(InputError, match=r"no\.tif: cannot be read"), open_location(location):
        pass


def test_a_vrt_behind_a_server_is_not_opened_as_a_tiff(server: Server, tmp_path: Path) -> None:
    (tmp_path / "vv.tif").write_text('<VRTDataset rasterXSize="9" rasterYSize="9"/>')
    name = f"/vsicurl/{server.address}/vv.tif"
    with pytest.raises(InputError), open_location(Location(name)):
        pass


def test_items_behind_a_server_point_beside_themselves(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.json").write_text(
        '{"type": "Feature", "id": "x", "properties": {},'
        ' "assets": {"vv": {"href": "vv.tif"}, "vh": {"href": "../vh.tif"}}}'
    )
    server.fail = 1
    allow = Allow((server.address,))
    (scene,), problems = read_items(f"{server.address}/a/x.json", allow, SOON)
    assert not problems
    assert scene.vv.location.shown == f"{server.address}/a/vv.tif"
    assert scene.vh.location.shown == f"{server.address}/vh.tif"


@pytest.fixture
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_VIRTUAL_HOSTING")
    for name in names:
        monkeypatch.delenv(name, raising=False)


def test_gdal_learns_the_endpoint_of_a_store(
    no_endpoint: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gdal_endpoint() == {}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000/")
    assert gdal_endpoint() == {
        "AWS_S3_ENDPOINT": "127.0.0.1:9000",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def test_what_gdal_was_told_itself_stays(
    no_endpoint: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "TRUE")
    assert gdal_endpoint()["AWS_VIRTUAL_HOSTING"] == "TRUE"
    monkeypatch.setenv("AWS_S3_ENDPOINT", "mine.example")
    assert gdal_endpoint() == {}


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "closed.tif"
    path.write_bytes(b"no TIFF")
    # the tests may be run by root, who may read all
    monkeypatch.setattr(opening.os, "access", lambda path, mode: False)
    refused = pytest.raises(InputError, match=r"Permission denied.*give yourself the right")
    with refused, open_location(Location(str(path))):
        pass
