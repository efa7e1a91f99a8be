"""Configs: Python files of settings and builders, and the scripts that are run with them."""
