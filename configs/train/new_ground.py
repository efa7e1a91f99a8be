"""`recommended_cpu` for ground without labels: what its polarisations are worth is drawn anew.

Gains of each polarisation and samples with one alone keep the network from leaning on the level and
the ratio of the two, which calibration, sensor and season change. `predict` then adapts its
normalisation to the scene: on San Francisco, from simulated towns, both together find what neither
does alone. Looks, contrast, pixel size and filter (`_unosat.py`) cost score on like ground there.
"""

base = "recommended_cpu.py"

gain_db = 3.0
drop_polarisation = 0.2
