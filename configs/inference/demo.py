"""The demo's unseen city, without augmentation: it runs on two cores."""

base = "_test.py"

data_path = "output/demo/test_tiles/images"
tta = "none"
window, overlap = 256, 32
save_overlays = 4
