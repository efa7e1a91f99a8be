"""All test tiles."""

base = "_inference.py"

data_path = "input/test_tiles/images"
has_targets = False
