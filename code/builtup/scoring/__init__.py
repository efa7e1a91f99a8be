"""Counts, curves, calibration and intervals: each figure is computed here, once."""
