"""Height above ground as a second answer of the network: it needs none where it maps."""

base = "_aerial.py"

elevation_alpha = 1.0
