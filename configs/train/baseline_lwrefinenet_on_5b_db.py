"""Light-Weight RefineNet on five bands in decibels; the rate restarts."""

from builtup.training.schedules import restarts

base = "_on_db.py"

channel_set = "db_5b"
class_weights = (0.5, 1.5)


def lr_scheduler(optimizer, total_steps):
    return restarts(optimizer, total_steps)  # at half the run, with half the rate
