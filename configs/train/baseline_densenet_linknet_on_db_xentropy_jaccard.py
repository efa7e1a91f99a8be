"""Linknet with a DenseNet-121 encoder on decibels, cross-entropy and Jaccard."""

base = "_on_db.py"

architecture, encoder = "linknet", "densenet121"
batch_size, accumulation_steps = 22, 4
class_weights = (1.0, 1.0)
jaccard = 2.0
