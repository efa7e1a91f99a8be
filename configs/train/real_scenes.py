"""The small network on the few real scenes: what docs/real_scenes.md reports."""

base = "demo.py"

data_path = "output/real/train_tiles"
val_fold = "10SEG_SanFranciscoWest/r0c0"  # a block of ground, see folds.gpkg
num_epochs, samples_per_epoch = 30, 480  # 1,800 iterations
max_minutes = 8.0
val_interval = 1000  # at the end only: nothing is chosen on the held-out block
batch_size, crop = 8, 128
ema_decay = 0.99
