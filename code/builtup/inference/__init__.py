"""From weights and tiles to probabilities, mosaics and city maps."""
