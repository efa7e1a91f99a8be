"""Light-Weight RefineNet on six bands of linear power."""

base = "_unosat.py"

crop, scale = 440, None
channel_set, mean, std = "linear_6b", (0.0,) * 6, (200.0,) * 6
class_weights = (0.1, 2.0)
lr = 0.075
