"""Score a training on the ground it never saw: name its config in `of`, or give its run_id."""

base = "_validate.py"

of = ""  # e.g. of=baseline_lwrefinenet: its newest training; empty: of all
