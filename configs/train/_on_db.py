"""What the baselines with Adam share: decibels, the folds' own mean and std, even sampling."""

from torch.optim import Adam

base = "_unosat.py"

num_epochs = 50
batch_size, accumulation_steps = 24, 2
sampler_weights = (0.5, 0.5)
channel_set, mean, std = "db_3b", None, None
normalisation = "stats"  # mean and std of the training folds
class_weights = (0.75, 1.5)
lr, weight_decay = 1e-3, 1e-4


def optimizer(model):
    return Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
