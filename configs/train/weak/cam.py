"""Class activation maps of a classifier of tags: what one stage must beat."""

base = "task_ii_tags.py"

plain = True
