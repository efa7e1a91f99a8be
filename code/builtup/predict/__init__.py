"""A new city in one command: from scenes to maps, polygons and what a GIS opens."""
