"""Heads beside the classes: what networks give, what their losses count."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from builtup.errors import ConfigError
from builtup.models.channels import Channels
from builtup.models.heads import (
    BinaryDice,
    MultiTask,
    On,
    SmoothL1,
    class_logits,
    heads_of,
    mask_of,
    terms_of,
    valid_elements,
    without_heads,
)
from builtup.models.losses import CrossEntropy, Focal, Jaccard
from builtup.models.lwrefinenet import LightWeightRefineNet
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.models.small import SmallUNet
from builtup.training.export import example_bands, export, load_program, save_program

NAN = float("nan")


def networks() -> dict[str, nn.Module]:
    smp = {
        name: create_network(name, encoder, in_channels=3, num_classes=4, heads=("height",))
        for name, encoder in (
            ("unet", "mobilenet_v2"),
            ("fpn", "resnet18"),  # its logits come at a quarter of the size
            ("segformer", "mit_b0"),
        )
    }
    return {
        "small": SmallUNet(3, 4, (4, 8), heads=("height",)),
        "lwrefinenet": LightWeightRefineNet(3, 4, heads=("height",)),
        **smp,
    }


@pytest.mark.parametrize("name", ["small", "lwrefinenet", "unet", "fpn", "segformer"])
def test_each_network_gives_a_height_of_the_inputs_size_from_all_its_decoder(name: str) -> None:
    network = networks()[name]
    outputs = network(torch.rand(2, 3, 64, 32))
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "classes": (2, 4, 64, 32),
        "height": (2, 1, 64, 32),
    }
    outputs["height"].square().mean().backward()
    assert heads_of(network) == ("height",)
    untaught = [n for n, p in network.named_parameters() if p.grad is None]
    assert untaught and all(".classes." in n for n in untaught)


def test_a_head_leaves_the_rest_of_a_network_as_it_begins_without_one() -> None:
    plain, headed = [], []
    for heads, found in (((), plain), (("height",), headed)):
        torch.manual_seed(4)
        network = create_network("unet", "resnet18", in_channels=3, num_classes=2, heads=heads)
        found.append(class_logits(network.eval()(torch.ones(1, 3, 32, 32))))
        torch.manual_seed(4)
        found.append(class_logits(SmallUNet(3, 2, (4, 8), heads).eval()(torch.ones(1, 3, 16, 16))))
    assert all(torch.equal(a, b) for a, b in zip(plain, headed, strict=True))


def test_a_segmenter_crops_every_head_and_is_exported_with_its_classes_alone(tmp_path) -> None:
    torch.manual_seed(0)
    model = Segmenter(Channels("db_3b"), SmallUNet(3, 2, (4, 8), heads=("height",))).eval()
    outputs = model(torch.rand(1, 2, 21, 35) + 0.1)
    assert {tuple(v.shape) for v in outputs.values()} == {(1, 2, 21, 35), (1, 1, 21, 35)}
    save_program(export(model), tmp_path / "model.pt2")
    bands = example_bands(1, 2, 32, 64)
    with torch.no_grad():
        probability = load_program(tmp_path / "model.pt2")(bands)
        expected = class_logits(model(bands)).softmax(1)
    known = ~probability.isnan()
    torch.testing.assert_close(probability[known], expected[known])


def test_heads_that_do_not_exist_or_do_not_fit_are_refused() -> None:
    for wrong in (("hight",), ("height", "height"), "height"):
        with pytest.raises(ConfigError, match="expected a tuple of some of height"):
            SmallUNet(3, 2, heads=wrong)
    with pytest.raises(ConfigError, match="network DPT: its last layer takes no further heads"):
        create_network(
            "dpt",
            "tu-vit_tiny_patch16_224",
            in_channels=3,
            num_classes=2,
            heads=("height",),
            dynamic_img_size=True,
        )


def test_smooth_l1_by_hand_and_unknown_heights_count_nowhere() -> None:
    """Of errors 2.5 and 10 m in units of 5 m: ½ · .5² = .125, and 2 − ½ = 1.5."""
    output = torch.zeros(1, 1, 1, 3, requires_grad=True)
    target = torch.tensor([[[[2.5, NAN, -10.0]]]])
    loss = SmoothL1(unit=5.0)(output, target)
    assert float(loss.detach()) == pytest.approx((0.125 + 1.5) / 2)
    loss.backward()
    # per metre: −.5 and 1 over 5 m, of two known pixels
    torch.testing.assert_close(output.grad, torch.tensor([[[[-0.05, 0.0, 0.1]]]]))
    assert valid_elements(SmoothL1(), target) == 2


def test_smooth_l1_of_nothing_known_is_0_with_a_gradient_of_0() -> None:
    output = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = SmoothL1()(output, torch.full((2, 1, 3, 3), NAN))
    loss.backward()
    assert float(loss.detach()) == 0
    assert output.grad is not None and not output.grad.any()
    with pytest.raises(ConfigError, match="expected a number above 0"):
        SmoothL1(unit=0)


def outputs_and_targets() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    g = torch.Generator().manual_seed(0)
    height = 10 * torch.rand(2, 1, 4, 4, generator=g)
    height[0, 0, :2] = NAN
    mask = torch.randint(0, 3, (2, 4, 4), generator=g)
    mask[1, 0] = 255
    outputs = {
        "classes": torch.randn(2, 3, 4, 4, generator=g),
        "height": torch.randn(2, 1, 4, 4, generator=g),
    }
    return outputs, {"mask": mask, "height": height}


def test_losses_of_heads_add_and_scale_and_a_plain_loss_is_of_classes_and_mask() -> None:
    outputs, targets = outputs_and_targets()
    plain = CrossEntropy() + 2 * Jaccard()
    height = On("height", "height", SmoothL1())
    expected = plain(outputs["classes"], targets["mask"]) + 10 * SmoothL1()(
        outputs["height"], targets["height"]
    )
    sums = (
        plain + 10 * height,
        10 * height + plain,
        On("classes", "mask", plain) + 10 * height,
        2 * (0.5 * plain + 5 * height),
    )
    for loss in sums:
        assert isinstance(loss, MultiTask)
        torch.testing.assert_close(loss(outputs, targets), expected)
    assert str(sums[0]) == "CE() + 2·Jaccard + 10·height smooth L1(5)"
    assert [(t.name, t.weight, t.loss.count(targets)) for t in terms_of(sums[0])] == [
        ("classes", 1.0, 28),
        ("height", 10.0, 24),
    ]
    twice = height + height
    assert [term.name for term in terms_of(twice)] == ["height", "height_2"]
    assert terms_of(plain) == ()
    # of a network and a batch with nothing further
    alone = On("classes", "mask", plain)
    torch.testing.assert_close(
        alone(outputs["classes"], targets["mask"]), plain(outputs["classes"], targets["mask"])
    )


def test_what_a_network_or_a_batch_lacks_is_said() -> None:
    outputs, targets = outputs_and_targets()
    height = On("height", "height", SmoothL1())
    with pytest.raises(ConfigError, match=r"heads classes; add it to `heads`"):
        height(outputs["classes"], targets)
    with pytest.raises(ConfigError, match=r"batches have mask; ask the loader"):
        height.count(targets["mask"])


def test_classes_and_mask_of_what_has_more() -> None:
    outputs, targets = outputs_and_targets()
    assert class_logits(outputs) is class_logits(outputs["classes"])
    assert mask_of(targets) is mask_of(targets["mask"])


def test_a_height_is_learnt_in_metres() -> None:
    """Bright squares 6 m high; at Adam's 1e-2 within 60 steps to less than a metre."""
    torch.manual_seed(0)
    mask = torch.zeros(4, 32, 32, dtype=torch.int64)
    for i, (a, b) in enumerate(pairwise((2, 6, 10, 14, 18))):
        mask[i, a : b + 10, 4:20] = 1
    image = torch.randn(4, 3, 32, 32) * 0.1 + mask[:, None]
    targets = {"mask": mask, "height": 6.0 * mask[:, None]}
    network = SmallUNet(3, 2, (8, 16), heads=("height",))
    loss = CrossEntropy() + On("height", "height", SmoothL1())
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        value = loss(network(image), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        found = network(image)
    assert (found["height"] - targets["height"]).abs().mean() < 1
    assert (class_logits(found).argmax(1) == mask).float().mean() > 0.95


def test_binary_dice_by_hand_of_one_class_among_several() -> None:
    # p .9, .2, .5 on class 2, another, ignored: 1 − 2 · .9 / (1.1 + 1)
    logits = torch.logit(torch.tensor([[[[0.9, 0.2, 0.5]]]])).requires_grad_()
    target = torch.tensor([[[2, 0, 255]]])
    loss = BinaryDice(mapped=2)(logits, target)
    assert loss.item() == pytest.approx(1 - 1.8 / 2.1, rel=1e-5)
    loss.backward()
    assert logits.grad[0, 0, 0, 2] == 0 and logits.grad[0, 0, 0, 0] < 0
    nothing = BinaryDice()(logits, target)
    assert nothing.item() == 0 and torch.isfinite(torch.autograd.grad(nothing, logits)[0]).all()
    with pytest.raises(ConfigError, match="binary Dice: of one logit"):
        BinaryDice()(torch.zeros(1, 2, 1, 3), target)


@pytest.mark.parametrize("name", ["small", "lwrefinenet", "unet"])
def test_heads_of_samples_see_the_deepest_features_of_every_network(name: str) -> None:
    heads = ("building", "presence", "scale")
    network = {
        "small": lambda: SmallUNet(3, 2, (4, 8), heads),
        "lwrefinenet": lambda: LightWeightRefineNet(3, 2, heads=heads),
        "unet": lambda: create_network(
            "unet", "resnet18", in_channels=3, num_classes=2, heads=heads
        ),
    }[name]()
    model = Segmenter(Channels("rgb"), network)
    outputs = model(torch.rand(2, 3, 50, 64) * 255)
    assert {k: tuple(v.shape) for k, v in outputs.items()} == {
        "classes": (2, 2, 50, 64),
        "building": (2, 1, 50, 64),
        "presence": (2,),
        "scale": (2,),
    }
    assert heads_of(model) == heads
    targets = {
        "mask": torch.ones(2, 50, 64, dtype=torch.int64),
        "presence": torch.tensor([1, 255]),
        "log_pixel": torch.tensor([NAN, -2.0]),
    }
    loss = On("presence", "presence", Focal(0.25, 0.75)) + On("scale", "log_pixel", SmoothL1(1.0))
    assert [term.loss.count(targets) for term in terms_of(loss)] == [1, 1]
    loss(outputs, targets).backward()
    learnt = {n.split(".")[0] for n, p in network.named_parameters() if p.grad is not None}
    assert "of_sample" in learnt and "classify" not in learnt
    with torch.no_grad():
        model.eval()
        image = torch.rand(1, 3, 64, 64) * 255
        before = class_logits(model(image))
        assert torch.equal(without_heads(model)(image), before)
    assert heads_of(model) == () and "heads" not in getattr(network, "settings", {})
