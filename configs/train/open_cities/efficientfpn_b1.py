"""The submission's first model: EfficientFPN on EfficientNet-B1, all heads. Wants a GPU."""

base = "_open_cities.py"

encoder = "efficientnet-b1"
