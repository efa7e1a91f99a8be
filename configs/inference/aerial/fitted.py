"""Several scales, folded by the weights that cascade_fit fitted to the model: the best of these."""

base = "_aerial.py"

fold = "logits"
