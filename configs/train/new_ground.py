"""`recommended_cpu` for ground without labels: radiometry, speckle and pixel size are varied.

What another sensor, season or processing changes is drawn anew for every sample, so that the
network cannot lean on it.
"""

base = "recommended_cpu.py"

gain_db, common_gain_db = 3.0, 3.0
contrast = 0.4
noise_floor = 0.003
speckle_looks = (1.0, 30.0)
speckle_filter = 7
pixel_size = (0.7, 1.4)
drop_polarisation = 0.1
