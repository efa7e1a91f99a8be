"""M1: B1 and the tags of the other scenes' cells, by log-sum-exp pooled probabilities."""

base = "_weak.py"

tags_weight = 0.5
