"""The one to start from on one ordinary GPU: `recommended_cpu` with twice the channels, for longer.

Its ingredients are those that docs/results.md compares on a CPU; the whole was not compared yet.
"""

base = "recommended_cpu.py"

num_epochs, samples_per_epoch = 40, 3200
batch_size = 32  # 4,000 iterations
widths = (32, 64, 128, 256)
val_interval = 40  # at the end: the weights are the last ones
num_workers = 6
