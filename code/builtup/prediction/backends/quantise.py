"""A network in 8 bits, after training, from samples of what it will see (NNCF)."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builtup.errors import ConfigError
from builtup.prediction.backends.openvino import require_openvino
from builtup.sensors.radar.bands import NODATA_POWER

__all__ = ["kept_exact", "quantise", "require_nncf"]

#: Layers with weights: what lies before the first and after the last of them stays in float32.
_LAYERS = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"}
_LAYERS |= {"GroupConvolutionBackpropData"}

Nodes = Callable[[Any], Iterable[Any]]


def require_nncf() -> Any:
    """The module nncf; ConfigError where it is not installed."""
    require_openvino()  # first: it sees to it that nothing is reported over the network
    try:
        import nncf
    except ImportError as e:
        raise ConfigError(
            "backend=openvino-int8: NNCF is not installed; pip install '.[openvino]' "
            "(or: pip install nncf), or use backend=openvino"
        ) from e
    # not its set_log_level, which silences the handlers of everybody else as well
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def quantise(network: Any, windows: Sequence[NDArray[np.float32]]) -> Any:
    """The 8-bit version of a converted network, calibrated on `windows` (2, window, window).

    Power is NaN where invalid. The channel transform (decibels of a range of five decades) and
    the softmax stay in float32.
    """
    nncf = require_nncf()
    # weights of 7 bits: with 8, sums of 16 bits overflow on CPUs without VNNI, and the network
    # that was judged on one machine would be another on the next
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    with _silent_off_a_terminal():
        return nncf.quantize(
            network,
            nncf.Dataset([np.nan_to_num(w, nan=NODATA_POWER)[None] for w in windows]),
            subset_size=len(windows),
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=kept_exact(network), validate=False),
            advanced_parameters=advanced,
        )


@contextlib.contextmanager
def _silent_off_a_terminal() -> Iterator[None]:
    """NNCF draws its progress bars on standard output, wherever that goes."""
    if sys.stdout.isatty():
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def kept_exact(network: Any) -> list[str]:
    """Names of the operations before the first layers with weights and after the last ones."""
    operations = list(network.get_ordered_ops())
    fed = _reached(operations, _sources, {"Parameter"})  # not what only constants lead to
    after_layer = _reached(operations, _sources, _LAYERS)
    before_layer = _reached(operations[::-1], _targets, _LAYERS)
    return [
        o.get_friendly_name()
        for o in operations
        if o.get_type_name() not in {*_LAYERS, "Parameter", "Result"}
        and o.get_friendly_name() in fed
        and not (o.get_friendly_name() in after_layer and o.get_friendly_name() in before_layer)
    ]


def _reached(operations: Iterable[Any], neighbours: Nodes, kinds: set[str]) -> set[str]:
    """Operations that have one of `kinds` behind them, in the direction of `neighbours`."""
    found: set[str] = set()
    for operation in operations:
        for other in neighbours(operation):
            if other.get_type_name() in kinds or other.get_friendly_name() in found:
                found.add(operation.get_friendly_name())
    return found


def _sources(operation: Any) -> Iterator[Any]:
    for value in operation.input_values():
        yield value.get_node()


def _targets(operation: Any) -> Iterator[Any]:
    for output in operation.outputs():
        for value in output.get_target_inputs():
            yield value.get_node()
