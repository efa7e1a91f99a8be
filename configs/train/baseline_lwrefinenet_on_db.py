"""Light-Weight RefineNet on decibels."""

base = "_on_db.py"

class_weights = (0.75, 1.5)
