"""From probabilities to city maps, polygons and what a GIS opens."""
