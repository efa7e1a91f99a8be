"""What a run is to MLflow and on disk: tracking, the registry, records and results."""
