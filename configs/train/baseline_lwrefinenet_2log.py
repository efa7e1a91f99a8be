"""Light-Weight RefineNet on the logarithm of squared power."""

base = "_unosat.py"

scale = None
channel_set, mean, std = "log_3b", (-5.0,) * 3, (5.0,) * 3
class_weights = (0.1, 2.0)
