"""Light-Weight RefineNet on linear power."""

base = "_unosat.py"

batch_size, accumulation_steps = 22, 2
class_weights = (0.1, 2.0)
