"""`python -m builtup`: how the MLproject calls the commands."""

import os
import sys

from builtup.cli import main

if __name__ == "__main__":
    if os.environ.get("MLFLOW_RUN_ID") and len(sys.argv) > 1:  # else MLflow need not be imported
        from builtup.runs import tracking

        tracking.name_opened_run(sys.argv[1])
    main()
