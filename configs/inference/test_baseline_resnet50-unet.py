"""Map the test cities with U-Net with a ResNet-50 encoder."""

base = "_test.py"
