"""Light-Weight RefineNet on linear power with the training folds' mean and std."""

base = "_on_db.py"

channel_set = "linear_3b"
class_weights = (1.0, 1.0)
