"""Networks of segmentation_models_pytorch: U-Net, FPN, PSPNet, DeepLabV3, LinkNet and more."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as library
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.heads import (
    Heads,
    Outputs,
    SampleHeads,
    head_convolutions,
    require_heads,
    sample_heads,
    with_samples,
)
from builtup.models.satellite import load_encoder, satellite_weights
from builtup.models.weights import fetch

__all__ = ["smp_network"]


def smp_network(
    architecture: str,
    encoder: str = "resnet50",
    *,
    in_channels: int,
    num_classes: int,
    pretrained: bool | str = False,
    heads: Sequence[str] = (),
    freeze_encoder: bool = False,
    **options: Any,
) -> nn.Module:
    """A network by name, e.g. `smp_network("unet", "resnet50", in_channels=3, num_classes=2)`.

    Takes (B, in_channels, H, W), sides multiples of 32, and gives (B, num_classes, H, W) logits.
    `options` go to the library's class; with `heads` (see `builtup.models.heads`) the output is a
    dict of these and the logits. `pretrained` asks for the encoder's ImageNet weights, or
    for those of `builtup.models.satellite` by name. `freeze_encoder` leaves the encoder as it is,
    its normalisation too: the rest alone is learnt.
    Raises ConfigError for an unknown name or option, BuiltupError where weights cannot be fetched.
    """
    require_heads(heads)
    architectures = library.MODEL_ARCHITECTURES_MAPPING
    if architecture.lower() not in architectures:
        raise ConfigError(
            f"network {architecture!r}: unknown; choose one of {', '.join(architectures)}"
        )
    if not encoder.startswith("tu-") and encoder not in library.encoders.encoders:
        raise ConfigError(
            f"encoder {encoder!r}: unknown; choose one of "
            f"{', '.join(library.encoders.encoders)} or tu-<name in timm>"
        )

    # the library passes unknown options on to encoders, most of which swallow them
    known = inspect.signature(architectures[architecture.lower()]).parameters
    unknown = [name for name in options if name not in known]
    if unknown and not encoder.startswith("tu-"):
        raise ConfigError(
            f"network {architecture!r}: unknown option {unknown[0]!r}; it takes {', '.join(known)}"
        )

    satellite = (
        satellite_weights(pretrained, encoder, in_channels) if isinstance(pretrained, str) else None
    )

    def create() -> nn.Module:
        network: nn.Module = library.create_model(
            architecture,
            encoder_name=encoder,
            encoder_weights="imagenet" if pretrained is True else None,
            in_channels=in_channels,
            classes=num_classes,
            **options,
        )
        if pretrained is not True:
            _draw_zero_biases(network.get_submodule("encoder"))
        return network

    network = fetch(encoder, create) if pretrained is True else create()
    if satellite is not None:
        load_encoder(network.get_submodule("encoder"), satellite)
    if heads:
        _add_maps(network, heads)
    if freeze_encoder:
        network.freeze_encoder()  # type: ignore[operator]
    encoder_of: Any = network.get_submodule("encoder")
    of_sample = sample_heads(heads, encoder_of.out_channels[-1])
    return network if of_sample is None else _WithSamples(network, of_sample)


def _draw_zero_biases(encoder: nn.Module) -> None:
    """Draw zero biases of convolutions as PyTorch does, in an encoder that norms its layers.

    Ground without data is 0 in each channel. With no bias it stays 0 from layer to layer, and each
    layer norm there multiplies gradients by 1/√eps: NaN in the first step of a training.
    """
    if not any(isinstance(module, nn.LayerNorm) for module in encoder.modules()):
        return
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None and not module.bias.any():
            bound = module.weight[0].numel() ** -0.5
            nn.init.uniform_(module.bias, -bound, bound)


_PARTS = ("encoder", "decoder", "segmentation_head")


class _WithSamples(nn.Module):
    """A network of the library, and heads of whole samples on its encoder's deepest features."""

    def __init__(self, network: nn.Module, of_sample: SampleHeads) -> None:
        super().__init__()
        if type(network).forward is not library.base.SegmentationModel.forward:
            raise ConfigError(
                f"network {type(network).__name__}: has no features that heads of whole samples "
                "could take; leave presence and scale out of heads, or choose another architecture"
            )
        self.network, self.of_sample = network, of_sample

    def forward(self, x: Tensor) -> Outputs:
        """The library's own way, with the features kept."""
        encoder, decoder, head = map(self.network.get_submodule, _PARTS)
        features = encoder(x)
        outputs = head(decoder(features))
        return with_samples(outputs, self.of_sample, features[-1])


def _add_maps(network: nn.Module, heads: Sequence[str]) -> None:
    """1×1 convolutions on the decoder's features, brought to full size as the logits are."""
    classes = network.get_submodule("segmentation_head")
    convolutions = [m for m in classes.modules() if isinstance(m, nn.Conv2d)]
    upsampling = [m for m in classes.modules() if isinstance(m, nn.Upsample)]
    if not isinstance(classes, nn.Sequential) or len(convolutions) != 1:
        raise ConfigError(
            f"network {type(network).__name__}: its last layer takes no further heads; leave heads "
            "out, or choose another architecture"
        )
    further = {
        name: nn.Sequential(convolution, *upsampling)
        for name, convolution in head_convolutions(heads, convolutions[0].in_channels).items()
    }
    if further:
        network.segmentation_head = Heads(classes, further)
