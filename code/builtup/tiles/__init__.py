"""Masks, tilings of scenes, their statistics, and the folds of cross-validation."""
