"""The last step of M3: its network, on the pixel labels alone, at a tenth of the rate.

`teacher` is the run of `configs/train/weak/m3.py`: see docs/weak.md.
"""

from builtup.training.students import network_of

base = "../train/weak/_weak.py"

teacher, pretrained = "", True
normalisation = "config"  # the teacher's
num_epochs = 10
lr = 2e-5


def model():
    return network_of(teacher, weights=pretrained)
