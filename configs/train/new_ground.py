"""`recommended_cpu` for ground without labels: samples may show one polarisation alone.

That and its gains keep the network from leaning on the level and the ratio of the two, which
calibration, sensor and season change; `predict` then adapts its normalisation to the scene. Looks,
contrast, pixel size and filter (`_unosat.py`) cost score on like ground in a first trial.
"""

base = "recommended_cpu.py"

drop_polarisation = 0.2
