"""Pretrained weights: fetched on request, with one clear line where they cannot be had."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import torch
from torch import nn

from builtup.errors import BuiltupError, one_line

__all__ = ["adapt_input", "fetch"]

T = TypeVar("T")


def fetch(name: str, download: Callable[[], T]) -> T:
    """Run a download of weights; raise BuiltupError where there is no network, disk or file.

    Libraries raise many kinds here (URLError, HTTP errors of three clients, wrong hash as
    RuntimeError): OSError, ValueError and RuntimeError are what they derive from.
    """
    try:
        with _without_waiting():
            return download()
    except (OSError, ValueError, RuntimeError) as e:
        raise BuiltupError(
            f"pretrained weights of {name}: cannot be fetched ({one_line(e, 120)}); connect to the "
            "network once to fill the cache, or set pretrained = False in the config"
        ) from e


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Let the Hugging Face hub look into its cache only where its host is not to be found.

    Otherwise it tries for a minute and warns all along. Behind a proxy nobody can tell.
    """
    from huggingface_hub import constants

    host = urlsplit(constants.ENDPOINT).hostname or ""
    offline, logger = constants.HF_HUB_OFFLINE, logging.getLogger("huggingface_hub")
    level = logger.level
    if not urllib.request.getproxies() and not _resolves(host):
        constants.HF_HUB_OFFLINE = True
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logger.setLevel(level)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def adapt_input(conv: nn.Conv2d, in_channels: int, *, keep_weights: bool) -> nn.Conv2d:
    """A first convolution for `in_channels` instead of three.

    With `keep_weights` the filters are repeated over the new channels and scaled by the ratio of
    the numbers, so that the size of the activations stays.
    """
    if conv.in_channels == in_channels:
        return conv
    new = nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    with torch.no_grad():
        if keep_weights:
            index = torch.arange(in_channels) % conv.in_channels
            new.weight.copy_(conv.weight[:, index] * (conv.in_channels / in_channels))
            if conv.bias is not None and new.bias is not None:
                new.bias.copy_(conv.bias)
        else:
            nn.init.kaiming_normal_(new.weight, mode="fan_out")
            if new.bias is not None:
                nn.init.zeros_(new.bias)
    return new
