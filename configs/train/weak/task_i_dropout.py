"""Task (i) with half of the decoder's values dropped."""

base = "task_i.py"

dropout = 0.5
