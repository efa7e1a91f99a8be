"""A simulated piece of country as Sentinel-1 sees it at 10 m."""
