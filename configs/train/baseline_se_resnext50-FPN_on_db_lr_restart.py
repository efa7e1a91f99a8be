"""FPN with an SE-ResNeXt50 encoder on decibels; the rate restarts."""

from builtup.training.schedules import restarts

base = "_on_db.py"

architecture, encoder = "fpn", "se_resnext50_32x4d"
batch_size, accumulation_steps = 22, 2
class_weights = (0.5, 1.5)
lr = 2e-3


def lr_scheduler(optimizer, total_steps):
    return restarts(optimizer, total_steps)  # at half the run, with half the rate
