"""Height above ground as an input, unknown in a quarter of the samples: it maps without, too."""

base = "_aerial.py"

channel_set = "rgb_height"
height_dropout = 0.25
