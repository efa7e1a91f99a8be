"""FPN with an SE-ResNeXt50 encoder on decibels."""

base = "_on_db.py"

architecture, encoder = "fpn", "se_resnext50_32x4d"
batch_size, accumulation_steps = 23, 2
class_weights = (0.75, 1.5)
