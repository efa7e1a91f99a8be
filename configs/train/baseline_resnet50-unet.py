"""U-Net with a ResNet-50 encoder on linear power."""

base = "_unosat.py"

architecture, encoder = "unet", "resnet50"
class_weights = (0.5, 1.0)
