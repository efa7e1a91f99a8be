"""M3: M1 taught again with its own maps, masked by the tags (`pseudo_labels mode=tags`).

Then `configs/selftrain/weak_fine.py` learns from the pixel labels alone, at a tenth of the rate.
"""

base = "m1.py"

pseudo_path = "output/pseudo"
