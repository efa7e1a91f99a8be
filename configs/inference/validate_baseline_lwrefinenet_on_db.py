"""Score Light-Weight RefineNet on decibels on the ground it never saw."""

base = "_validate.py"
