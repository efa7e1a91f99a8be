"""Task (ii): VGG16 with unpooling on the pixel labels of few scenes and the tags of many."""

base = "task_i.py"

dropout = 0.5
tags_weight = 0.5
