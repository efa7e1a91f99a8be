"""The one to start from on one ordinary GPU: `recommended_cpu` with twice the channels, for longer.

From what docs/results.md compares on a CPU: crops of 192 and twice the channels were ahead on
simulated towns. A tenth of its iterations is ahead of `recommended_cpu`; the whole takes 55 minutes
of one core, and is ahead of the tenth (one seed).
"""

base = "recommended_cpu.py"

num_epochs, samples_per_epoch = 40, 1600
batch_size, crop = 16, 192  # 4,000 iterations
widths = (32, 64, 128, 256)
val_interval = 40  # at the end: the weights are the last ones
num_workers = 6
