"""Cross-validation, comparison and calibration: how good, how sure, and chosen on what."""
