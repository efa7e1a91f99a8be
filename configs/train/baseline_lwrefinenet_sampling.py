"""Light-Weight RefineNet on linear power, balanced by the sampler alone."""

base = "_unosat.py"

scale = None
class_weights = (1.0, 1.0)
