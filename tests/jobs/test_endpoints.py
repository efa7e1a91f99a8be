from __future__ import annotations

import pytest

from builtup.jobs.endpoints import gdal_endpoint, s3_endpoint

NAMES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT", "AWS_VIRTUAL_HOSTING")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_amazon_s_own_needs_nothing() -> None:
    assert s3_endpoint() is None
    assert gdal_endpoint() == {}


def test_the_variable_of_s3_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    assert s3_endpoint() == ("https", "all.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000/")
    assert s3_endpoint() == ("http", "127.0.0.1:9000")
    assert gdal_endpoint() == {
        "AWS_S3_ENDPOINT": "127.0.0.1:9000",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }


def test_what_gdal_was_told_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://all.example")
    monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "TRUE")
    assert gdal_endpoint()["AWS_VIRTUAL_HOSTING"] == "TRUE"
    monkeypatch.setenv("AWS_S3_ENDPOINT", "mine.example")
    assert gdal_endpoint() == {}
