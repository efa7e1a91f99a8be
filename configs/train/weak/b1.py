"""B1: pixel labels of few scenes alone, in the recipe that all below share."""

base = "_weak.py"
