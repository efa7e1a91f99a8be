"""Rasters without radar: grids, windows, block reads, atomic writes, blending."""
