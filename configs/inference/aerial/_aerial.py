"""Whole orthomosaics of the test tiles: what these configs share. The tiles are not files."""

base = "../_inference.py"

data_path = "input/aerial_test_tiles/images"
has_targets = False
by, window, stride, blend = "scenes", 512, 2, "gaussian"  # every 256 px
tta = "none"
of = "aerial/small_cpu"  # its newest training, where run_id is empty
