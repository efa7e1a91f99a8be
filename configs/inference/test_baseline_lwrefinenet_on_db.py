"""Map the test cities with Light-Weight RefineNet on decibels."""

base = "_test.py"
