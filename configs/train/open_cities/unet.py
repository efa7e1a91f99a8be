"""A U-Net in the recipe of `small_cpu`, from scratch and without further heads: to compare with."""

base = "small_cpu.py"

architecture, encoder, pretrained = "unet", "mobilenet_v2", False
building_dice, presence_focal, scale_huber = 0.0, 0.0, 0.0
norm = "batch"


def options():
    return {}
