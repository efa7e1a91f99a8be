"""Light-Weight RefineNet on power stretched image by image, to the power .2."""

base = "_unosat.py"

channel_set, mean, std = "minmax_3b", None, None
class_weights = (0.1, 2.0)
