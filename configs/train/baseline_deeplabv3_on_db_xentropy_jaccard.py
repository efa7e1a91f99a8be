"""DeepLabV3 with a ResNet-101 encoder on decibels, cross-entropy and Jaccard."""

base = "_on_db.py"

architecture, encoder = "deeplabv3", "resnet101"
batch_size, accumulation_steps = 9, 2
class_weights = (0.75, 1.5)
jaccard = 2.0
