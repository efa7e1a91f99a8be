"""PSPNet with a ResNet-50 encoder on linear power."""

base = "_unosat.py"

architecture, encoder = "pspnet", "resnet50"
batch_size = 36
class_weights = (0.5, 1.0)
