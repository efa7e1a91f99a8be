"""Cross-validation and comparison: how good, how sure, and chosen on what."""
