"""Light-Weight RefineNet on five bands of linear power."""

base = "_unosat.py"

scale = None
channel_set, mean, std = "linear_5b", (0.1, 0.1, 0.1, 0.0, 1.0), (10.0,) * 5
class_weights = (0.1, 3.0)
