"""What the Open Cities trainings share: buildings from drones, EfficientFPN with all its heads.

The loss is the submission's: focal + .1 Dice of a second head + focal of whether there is any
building, and the logarithm of the pixels' size, whose head had no loss there. docs/open_cities.md
says which setting is which flag of it.
"""

from torch.optim.lr_scheduler import OneCycleLR

base = "../aerial/_aerial.py"

num_classes = 2
num_epochs, samples_per_epoch = 20, 2000
val_metrics, es_patience = ("iou", "f1", "precision", "recall"), None

data_path = "input/open_cities_tiles"
sampler_weights = (0.3, 0.7)  # of a tile without and with buildings
crop, batch_size = 512, 5
reference_pixel, pixel_size = 0.1, (0.5, 2.0)  # metres, and the zoom about it
brightness, contrast, saturation, hue = 0.2, 0.2, 0.2, 0.02

architecture, encoder = "efficient_fpn", "efficientnet-b1"
width = 64  # of the pyramid
context_block, gate, mish = True, True, True
drop_connect, dropout = 0.2, 0.2

class_weights = (0.25, 0.75)  # alpha of the focal loss
cross_entropy, focal = 0.0, 1.0
building_dice, presence_focal, scale_huber = 0.1, 1.0, 0.1
lr, weight_decay = 2e-4, 1e-5


def options():
    return {
        "width": width,
        "context_block": context_block,
        "gate": gate,
        "mish": mish,
        "drop_connect": drop_connect,
        "dropout": dropout,
    }


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.3, div_factor=25)
