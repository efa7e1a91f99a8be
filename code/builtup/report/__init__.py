"""One self-contained HTML page on a set of predictions: maps, errors, scores, provenance."""
