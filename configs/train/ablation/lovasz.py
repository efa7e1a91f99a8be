"""`recommended_cpu` with cross-entropy and the Lovász softmax as its loss."""

from builtup.models.losses import CrossEntropy, Lovasz

base = "../recommended_cpu.py"


def criterion():
    return CrossEntropy(*class_weights) + Lovasz()
