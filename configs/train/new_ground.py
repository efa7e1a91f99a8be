"""`recommended_cpu` for ground without labels: radiometry, speckle and pixel size are varied.

What another sensor, season or processing changes is drawn anew for every sample, so that the
network cannot lean on it. `predict` then adapts its normalisation to the scene.
"""

base = "recommended_cpu.py"

gain_db = 3.0
contrast = 0.3
speckle_looks = (1.0, 30.0)
pixel_size = (0.7, 1.4)
drop_polarisation = 0.2
