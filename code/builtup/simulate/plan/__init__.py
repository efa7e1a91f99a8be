"""The plan of a simulated piece of country: streets, buildings, land cover, labels."""
