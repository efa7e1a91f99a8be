"""Light-Weight RefineNet on decibels, trained on all cities: for a submission."""

base = "../_on_db.py"

val_fold = None
class_weights = (1.0, 1.0)
