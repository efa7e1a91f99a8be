"""One scale: windows at every half of their side, weighted by a Gaussian."""

base = "_aerial.py"
