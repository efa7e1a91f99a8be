"""Score U-Net with a ResNet-50 encoder on the ground it never saw."""

base = "_validate.py"
