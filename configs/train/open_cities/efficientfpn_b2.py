"""The submission's larger model, its student: EfficientFPN on EfficientNet-B2. Wants a GPU."""

base = "_open_cities.py"

encoder = "efficientnet-b2"
