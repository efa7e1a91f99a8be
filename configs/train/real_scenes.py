"""The recommended network on the few real scenes: what docs/real_scenes.md reports."""

base = "recommended_cpu.py"

data_path = "output/real/train_tiles"
val_fold = "10SEG_SanFranciscoWest/r0c0"  # a block of ground, see folds.gpkg
num_epochs = 20  # 800 iterations
val_interval = 1000  # at the end only: nothing is chosen on the held-out block
max_minutes = 8.0
log_model = False  # takes seconds
