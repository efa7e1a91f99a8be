"""Today's choice: ConvNeXt in a UPerNet, all augmentation, height in and out. Wants a GPU."""

base = "height_input.py"

architecture, encoder = "upernet", "tu-convnext_tiny"
pretrained = True
crop, pixel_size = 512, (1.0, 4.0)
brightness, contrast, saturation, hue, blur = 0.2, 0.2, 0.2, 0.02, 1.0
shift, rotate, shear, cutout = 0.05, 15.0, 5.0, (3, 0.15)
elevation_alpha = 0.5
focal_tversky, label_smoothing = 0.5, 0.05
lr, weight_decay = 2e-4, 1e-2
ema_decay = 0.999
