"""Light-Weight RefineNet on linear power, cross-entropy and Jaccard."""

base = "_unosat.py"

batch_size, accumulation_steps = 22, 2
scale = (0.8, 1.0)
class_weights = (0.1, 2.0)
jaccard = 2.0
lr = 0.045
