"""Sentinel-1: names, discovery, headers, units, bands and the 3-band scene."""
