"""One path from a scene to probabilities, and the commands that take it."""
