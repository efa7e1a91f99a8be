"""Rate and decay of EfficientFPN for buildings from drones, as the submission searched them."""

base = "../train/open_cities/efficientfpn_b1.py"

metric, trials, pruner, startup = "val/iou", 20, "median", 5
num_epochs, samples_per_epoch, val_interval = 6, 1000, 1


def space(trial):
    return {
        "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-10, 1e-3, log=True),
    }
