"""M4: UniMatch with tags: M1, and strong views that must say what the weak one is sure of."""

base = "_weak.py"

tags_weight = 0.5
consistency = 1.0  # of three views: two strong ones with CutMix, one with hidden features
