"""Tags alone: one stage from tags to masks (Araslanov & Roth, CVPR 2020). `plain` is its baseline.

Pixel labels choose nothing but the epoch that is kept. As published: width = 64.
"""

from builtup.models.losses import NoLabels
from builtup.training.lessons import Lesson
from builtup.training.self_masks import ActivationMaps, MaskScores, SelfMasks

base = "_weak.py"

architecture, encoder = "single_stage", "resnet38"
pretrained = False  # or a file of ResNet-38d's weights
width = 16
background = None  # the number of a class that is nothing in particular, where there is one
plain = False  # True: class activation maps
samples_per_epoch = None  # each cell once
self_masks, self_since = 1.0, 5  # weight of the network's own masks, and epochs of tags before


def options():
    return {"width": width, "background": background, "plain": plain}


def train_loader():
    return cells(0, samples_per_epoch)


def criterion():
    return NoLabels()


def lessons(model):
    scores = (ActivationMaps if plain else MaskScores)(background)
    found = [Lesson("scores", cells(1), scores)]
    if self_masks and not plain:
        found.append(Lesson("masks", cells(2), SelfMasks(background), self_masks, since=self_since))
    return found
