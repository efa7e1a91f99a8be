"""Several scales, probabilities averaged by weights that fall with the scale."""

base = "_aerial.py"

fold = "soft"
