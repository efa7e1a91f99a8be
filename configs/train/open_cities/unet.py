"""A U-Net from scratch, without further heads, as long as `small_cpu`: to compare with."""

base = "_open_cities.py"

num_epochs, samples_per_epoch = 10, 400
batch_size, crop = 4, 192
val_interval = 5
reference_pixel = 0.25
architecture, encoder, pretrained = "unet", "mobilenet_v2", False
building_dice, presence_focal, scale_huber = 0.0, 0.0, 0.0
lr = 1e-3
ema_decay = 0.98


def options():
    return {}
