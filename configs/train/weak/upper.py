"""The upper bound: B1 with pixel labels of every scene, as before `weaken`.

`data_path` holds them with the same folds: `generate_tiles_stats folds=<weakened>/split.csv`.
"""

base = "_weak.py"

data_path = "input/aerial_tiles"
