"""Networks, one a file, and losses."""
