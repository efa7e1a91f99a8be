"""What all inferences share. Model, weights and threshold are those of the training run."""

run_id = ""  # a training run; empty: the newest finished one of the config of the same name
weights = "best"  # best, last, soup, or a file
tta = "rotations"  # none, hflip, vflip, flips, transpose, rotations, d4
window, overlap = 512, 64
blend = "ramp"  # weights of overlapping windows: ramp (low at a window's edge), mean, gaussian
batch_size = 4
threshold = None  # None: the one chosen on the validation cities
save_raw_predictions = True
save_overlays = 16  # pictures of the first tiles; True for all
