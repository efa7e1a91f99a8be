"""Grids, windows, rasters, vectors and what lies between them: nothing of any sensor."""
