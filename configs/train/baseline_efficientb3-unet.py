"""U-Net with an EfficientNet-b3 encoder on linear power."""

base = "_unosat.py"

architecture, encoder = "unet", "efficientnet-b3"
batch_size = 16
class_weights = (0.1, 2.0)
