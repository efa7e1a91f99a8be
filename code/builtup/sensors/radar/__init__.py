"""Sentinel-1: names, discovery, pairs of VV and VH, headers, units, bands and the 3-band scene."""
