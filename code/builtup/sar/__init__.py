"""Radar scenes: names and discovery, bands, the 3-band merge, and the simulator."""
