"""The recommended network on the few real scenes: what docs/real_scenes.md reports."""

base = "recommended_cpu.py"

data_path = "output/real/train_tiles"
val_fold = "10SEG_SanFranciscoWest/r0c0"  # a block of ground, see folds.gpkg
num_epochs = 30  # 1,200 iterations
max_minutes = 8.0
val_interval = 1000  # at the end only: nothing is chosen on the held-out block
