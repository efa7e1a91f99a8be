"""The ground that the training run held out, scored against its ground truth."""

base = "_inference.py"

data_path = "input/train_tiles"
has_targets = True
