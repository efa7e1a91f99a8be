"""A network by name, as configs set it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from builtup.errors import ConfigError
from builtup.models.norms import with_norm

__all__ = ["create_network"]


def create_network(
    architecture: str,
    encoder: str,
    *,
    in_channels: int,
    num_classes: int,
    pretrained: bool | str = False,
    norm: str = "batch",
    heads: Sequence[str] = (),
    freeze_encoder: bool = False,
    **options: Any,
) -> nn.Module:
    """Our own `lwrefinenet` (encoder mobilenet_v2), `small_unet` (plain), `efficient_fpn`,
    `enc_dec_unpool` (vgg16_bn) and `single_stage` (resnet38), see their modules, or what
    segmentation_models_pytorch has.

    Takes (B, in_channels, H, W), sides multiples of 32, and gives (B, num_classes, H, W) logits.
    With `heads`, such as ("height",), it gives a dict of these and the logits ("classes").
    `pretrained` is True for ImageNet's weights, a name of `builtup.models.satellite`, "lite0" of
    efficient_fpn, or of enc_dec_unpool and single_stage a file of the encoder's weights; `norm` is
    batch or group (`builtup.models.norms`); `freeze_encoder` learns the rest alone; `options` go to
    the network's class. Raises ConfigError for what does not exist, BuiltupError where weights
    cannot be had.
    """
    if architecture in _OWN:
        make = _own_network(architecture, encoder, heads, freeze_encoder)
        given: dict[str, Any] = {"pretrained": pretrained} if pretrained else {}
        return with_norm(make(in_channels, num_classes, **given, **options), norm)
    if architecture == "small_unet":
        if encoder != "plain" or pretrained or freeze_encoder:
            raise ConfigError(
                f"network small_unet: encoder = {encoder!r}, pretrained = {pretrained!r}: it has "
                "the encoder plain, learnt whole, from nothing"
            )
        from builtup.models.small import SmallUNet

        return with_norm(SmallUNet(in_channels, num_classes, heads=heads, **options), norm)
    if architecture == "efficient_fpn":
        from builtup.models.efficient_fpn import efficient_fpn

        fpn = efficient_fpn(
            *(in_channels, num_classes, encoder, heads),
            pretrained=pretrained,
            freeze_encoder=freeze_encoder,
            **options,
        )
        return with_norm(fpn, norm)
    if architecture != "lwrefinenet":
        from builtup.models.smp import smp_network

        network = smp_network(
            architecture,
            encoder,
            in_channels=in_channels,
            num_classes=num_classes,
            pretrained=pretrained,
            heads=heads,
            freeze_encoder=freeze_encoder,
            **options,
        )
        return with_norm(network, norm)
    from builtup.models.lwrefinenet import LightWeightRefineNet

    if encoder != "mobilenet_v2" or options or freeze_encoder or isinstance(pretrained, str):
        raise ConfigError(
            f"network lwrefinenet: encoder = {encoder!r}, pretrained = {pretrained!r}: it has the "
            "encoder mobilenet_v2, with pretrained true (ImageNet) or false, learnt whole, and no "
            "options"
        )
    own = LightWeightRefineNet(in_channels, num_classes, pretrained, heads)
    return with_norm(own, norm)


#: Networks whose heads are classes alone, and the encoder that each has.
_OWN = {"enc_dec_unpool": "vgg16_bn", "single_stage": "resnet38"}


def _own_network(
    architecture: str, encoder: str, heads: Sequence[str], freeze_encoder: bool
) -> Callable[..., nn.Module]:
    if encoder != _OWN[architecture] or heads or freeze_encoder:
        raise ConfigError(
            f"network {architecture}: encoder = {encoder!r}, heads = {tuple(heads)}: it has the "
            f"encoder {_OWN[architecture]}, learnt whole, and no heads beside the classes"
        )
    if architecture == "enc_dec_unpool":
        from builtup.models.enc_dec_unpool import EncDecUnpool

        return EncDecUnpool
    from builtup.models.single_stage import SingleStage

    return SingleStage
