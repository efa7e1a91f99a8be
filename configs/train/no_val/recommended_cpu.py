"""`recommended_cpu` trained on all cities: for a submission."""

base = "../recommended_cpu.py"

val_fold = None
threshold_from = "recommended_cpu"  # the threshold: mean of its cross-validation's folds
