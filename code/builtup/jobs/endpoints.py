"""Where an object store answers, as the variables of AWS's own tools say."""

from __future__ import annotations

import os

__all__ = ["gdal_endpoint", "s3_endpoint"]


def s3_endpoint() -> tuple[str, str] | None:
    """(protocol, host) of AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL; None for Amazon's own."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return None
    protocol, _, host = url.rpartition("://")
    return protocol or "https", host.rstrip("/")


def gdal_endpoint() -> dict[str, str]:
    """The same as GDAL's options, which do not know these variables; its own are left alone."""
    found = s3_endpoint()
    if found is None or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    protocol, host = found
    # other stores than Amazon's have no name in DNS for each bucket
    style = os.environ.get("AWS_VIRTUAL_HOSTING", "FALSE")
    secure = "NO" if protocol == "http" else "YES"
    return {"AWS_S3_ENDPOINT": host, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": style}
