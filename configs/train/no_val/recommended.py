"""`recommended` trained on all cities: for a submission."""

base = "../recommended_cpu.py"  # as `recommended`, whose settings follow (a test compares them)

num_epochs, samples_per_epoch = 40, 1600
batch_size, crop = 16, 192
widths = (32, 64, 128, 256)
val_interval = 40
num_workers = 6

val_fold = None
threshold_from = "recommended"  # the threshold: mean of its cross-validation's folds
