"""Crops whose pixels are up to four times as large: a cascade then meets scales that it knows."""

base = "height_input.py"

pixel_size = (1.0, 4.0)  # half of the samples; the others keep the data's own
