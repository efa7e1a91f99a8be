"""Light-Weight RefineNet on linear power, milder class weights."""

base = "_unosat.py"

batch_size, accumulation_steps = 22, 2
class_weights = (0.5, 2.0)
