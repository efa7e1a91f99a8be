"""U-Net with a ResNet-50 pretrained on Sentinel-1 (SSL4EO-S12, MoCo) on decibels.

Without a network, `pretrained=false` trains the same from random weights.
"""

base = "_on_db.py"

architecture, encoder = "unet", "resnet50"
pretrained = "ssl4eo-s12-moco"
channel_set = "db_2b"  # VV, VH, as the encoder knows them
normalisation, mean, std = "config", (-12.59, -20.26), (5.26, 5.91)  # and in its units
batch_size, accumulation_steps = 16, 1
lr = 3e-4
