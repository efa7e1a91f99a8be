"""DeepLabV3 with a ResNet-101 encoder on linear power, with coarse dropout."""

base = "_unosat.py"

architecture, encoder = "deeplabv3", "resnet101"
batch_size, accumulation_steps = 10, 2
scale = (0.8, 1.0)
coarse_dropout = (6, 0.15)  # the original's amount is not known
class_weights = (0.1, 2.0)
jaccard = 2.0
lr = 0.045
