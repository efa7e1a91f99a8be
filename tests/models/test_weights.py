import socket

import pytest
from huggingface_hub import constants
from torch import nn

from builtup.errors import BuiltupError
from builtup.models.weights import adapt_input, fetch


def unresolved(*args, **kwargs):
    raise socket.gaierror(-2, "Name or service not known")


def test_without_a_name_server_the_hub_is_asked_for_its_cache_only(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", unresolved)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert fetch("it", constants.is_offline_mode) is True
    assert constants.is_offline_mode() is False


def test_behind_a_proxy_the_hub_is_asked_itself(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", unresolved)
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:3128"})
    assert fetch("it", constants.is_offline_mode) is False


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_whatever_goes_wrong_is_one_line(monkeypatch, error):
    def fail():
        raise error("first line\nsecond line")

    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:3128"})
    with pytest.raises(BuiltupError, match="cannot be fetched") as e:
        fetch("it", fail)
    assert "\n" not in str(e.value)
    assert constants.is_offline_mode() is False


def test_a_convolution_of_the_right_width_is_left_alone():
    conv = nn.Conv2d(3, 8, 3)
    assert adapt_input(conv, 3, keep_weights=True) is conv
    assert adapt_input(conv, 6, keep_weights=False).in_channels == 6
