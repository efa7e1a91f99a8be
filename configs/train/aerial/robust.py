"""Labels that are not to be trusted to the pixel: noise, borders, doubt.

Cross-entropy with its reverse (symmetric cross-entropy, which forgives wrong labels), a smoothed
truth, and a ring of pixels along borders that no loss counts.
"""

base = "height_input.py"

cross_entropy, reverse_ce = 0.5, 0.5
label_smoothing = 0.05
ring = 2
