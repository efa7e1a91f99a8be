"""Map the unlabelled real scenes with the small network."""

base = "_test.py"

data_path = "output/real/test_tiles/images"
tta = "d4"
window, overlap = 256, 64
