"""A simulated piece of country with towns, as Sentinel-1 sees it at 10 m."""
