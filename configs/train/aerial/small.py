"""Colours alone and a small network: the one to start from on a CPU."""

base = "_aerial.py"

crop, batch_size = 128, 8
