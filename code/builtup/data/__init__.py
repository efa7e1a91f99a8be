"""Datasets, samplers and transforms that feed a network."""
