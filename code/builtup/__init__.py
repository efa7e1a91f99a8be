"""Maps of buildings and settlements from Sentinel-1 radar.

The packages follow the data: `sar` (scenes and bands), `raster` (grids, windows, files), `labels`
(polygons to masks and back), `tiles` (tiling, statistics, folds), `data`, `models`, `training`,
`inference`. `cli` holds one command per MLflow entry point.
"""

__version__ = "0.1.0"
