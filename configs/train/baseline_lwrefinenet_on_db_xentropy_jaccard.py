"""Light-Weight RefineNet on decibels, cross-entropy and Jaccard."""

base = "_on_db.py"

class_weights = (1.0, 1.0)
jaccard = 2.0
