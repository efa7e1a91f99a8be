"""Several scales as the benchmark's submission folds them: a coarser map has a vote."""

base = "_aerial.py"

fold = "vote"
