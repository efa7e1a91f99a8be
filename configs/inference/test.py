"""Map the test cities with a training: name its config in `of`, or give its run_id."""

base = "_test.py"

of = ""  # e.g. of=no_val/baseline_lwrefinenet_on_db: its newest training; empty: of all
