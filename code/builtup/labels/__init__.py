"""Polygons to masks and masks to polygons."""
