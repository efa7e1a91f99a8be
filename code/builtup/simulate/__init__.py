"""A simulated piece of country with towns, and what a sensor sees of it."""
