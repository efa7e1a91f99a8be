"""Rate, decay and loss of the small radar network, by its score on val_fold: docs/search.md."""

base = "../train/recommended_cpu.py"

metric, trials, pruner, startup = "val/iou", 20, "median", 5
num_epochs, samples_per_epoch, val_interval = 6, 320, 1  # 120 iterations, judged after each 20


def space(trial):
    return {
        "lr": trial.suggest_float("lr", 3e-4, 3e-2, log=True),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "jaccard": trial.suggest_float("jaccard", 0.0, 2.0),
        "gain_db": trial.suggest_float("gain_db", 0.0, 6.0),
    }
