"""EfficientFPN on Lite0, a narrow pyramid, small crops: minutes on two cores. Start from here."""

base = "efficientfpn_lite0.py"

num_epochs, samples_per_epoch = 10, 400
batch_size, crop, width = 4, 192, 16
val_interval = 5
reference_pixel = 0.25  # 48 m a side
lr = 1e-3
ema_decay = 0.98
