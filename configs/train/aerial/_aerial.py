"""What the trainings from the air share: classes, colours and height, crops, network, losses.

What a training learns beside classes, and what is done to its samples, are settings: 0 or None
leaves them out. docs/aerial.md says which is which flag of the benchmark's submission.
"""

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from builtup.data import loaders
from builtup.data.optical import Optical
from builtup.models.borders import IgnoreBorders
from builtup.models.channels import Channels
from builtup.models.heads import BinaryDice, On, SmoothL1
from builtup.models.losses import (
    F1,
    CrossEntropy,
    Focal,
    FocalTversky,
    SymmetricCrossEntropy,
    WeightedSum,
)
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.training.adversarial import FastGradientSign
from builtup.training.lessons import Lesson

seed = 0
num_classes = 6  # their names are those of the masks
num_epochs, samples_per_epoch = 50, 2000
val_interval, es_patience = 1, 10  # validations without a better macro_iou
val_metrics = ("macro_iou", "macro_f1", "f1", "iou", "accuracy")

data_path = "input/aerial_tiles"
val_fold = 0  # a site left out: its index or name, or a fold of folds=<file>
folds_drop = False
threshold_fold = None
crop, scale, ratio = 256, None, (0.9, 1.1)  # scale = (0.7, 1.0) crops and resizes
pixel_size = None  # a pixel becomes (least, most) times as large
reference_pixel = None  # metres: tiles of any pixel are seen in pixels of about that size
sampler_weights = (1.0,) * num_classes  # of a tile the largest of the classes that it holds
batch_size, val_batch_size = 8, 2
num_workers = 2
rarest = 0.0  # share of the crops that are centred on the rarest class
max_tiles = None

flips = True  # and quarter turns; what follows is builtup.data.optical
brightness, contrast, saturation, hue, blur = 0.0, 0.0, 0.0, 0.0, 0.0
shift, rotate, shear, cutout = 0.0, 0.0, 0.0, None

channel_set, normalisation = "rgb", "stats"  # or rgb_height: height as an input
mean, std = None, None  # with normalisation = "config"
height_dropout = 0.0  # share of the samples whose height is unknown to the network
elevation_alpha, elevation_unit = 0.0, 5.0  # weight of height as a target, and metres
building_dice = 0.0  # weights of further heads: of the second of two classes, by one logit;
presence_focal = 0.0  # whether a sample has the mapped class at all;
scale_huber = 0.0  # the logarithm of its pixels' metres

architecture, encoder = "unet", "mobilenet_v2"
pretrained = False  # True fetches the encoder's ImageNet weights
encoder_depth, decoder_channels = None, None  # None: the architecture's own
freeze_encoder = False
norm = "batch"  # or "group"

class_weights = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
label_smoothing = 0.0
cross_entropy, focal = 1.0, 0.0  # weights of the losses
reverse_ce, focal_tversky, f1 = 0.0, 0.0, 0.0
ring = 0  # pixels on both sides of a border of classes that no loss counts
fgsm_epsilon = 0.0  # a lesson of images moved by so many levels of 255 to where it errs
lr, weight_decay = 1e-3, 1e-4


def model():
    channels = Channels(channel_set, mean, std)
    network = create_network(
        architecture,
        encoder,
        in_channels=channels.out_channels,
        num_classes=num_classes,
        pretrained=pretrained,
        norm=norm,
        heads=heads(),
        freeze_encoder=freeze_encoder,
        **{name: value for name, value in options().items() if value is not None},
    )
    return Segmenter(channels, network)


def options():
    return {"encoder_depth": encoder_depth, "decoder_channels": decoder_channels}


def further():
    """Terms of heads beside the classes: weight, head, target, loss."""
    terms = (
        (elevation_alpha, "height", "height", SmoothL1(elevation_unit)),
        (building_dice, "building", "mask", BinaryDice()),
        (presence_focal, "presence", "presence", Focal(0.25, 0.75)),
        (scale_huber, "scale", "log_pixel", SmoothL1(1.0)),
    )
    return [term for term in terms if term[0]]


def heads():
    return tuple(head for _, head, _, _ in further())


def targets():
    return tuple(target for _, _, target, _ in further() if target != "mask")


def train_loader():
    return loaders.train_loader(
        data_path,
        val_fold=val_fold,
        batch_size=batch_size,
        crop=crop,
        sampler_weights=sampler_weights,
        scale=scale,
        ratio=ratio,
        pixel_size=pixel_size,
        reference_pixel=reference_pixel,
        flips=flips,
        optical=Optical(brightness, contrast, saturation, hue, blur, shift, rotate, shear, cutout),
        channel_set=channel_set,
        height_dropout=height_dropout,
        targets=targets(),
        rarest=rarest,
        num_workers=num_workers,
        seed=seed,
        drop_common=folds_drop,
        max_tiles=max_tiles,
        samples_per_epoch=samples_per_epoch,
        threshold_fold=threshold_fold,
    )


def val_loader():
    if val_fold is None:
        return None
    return loaders.val_loader(
        data_path,
        val_fold=val_fold,
        batch_size=val_batch_size,
        num_workers=num_workers,
        drop_common=folds_drop,
        max_tiles=max_tiles,
        channel_set=channel_set,
        reference_pixel=reference_pixel,
    )


def criterion():
    terms = (
        (cross_entropy, CrossEntropy(*class_weights, label_smoothing=label_smoothing)),
        (focal, Focal(*class_weights)),
        (reverse_ce, SymmetricCrossEntropy(*class_weights, alpha=0.0)),
        (focal_tversky, FocalTversky()),
        (f1, F1()),
    )
    loss = WeightedSum(*(term for term in terms if term[0]))
    loss = IgnoreBorders(loss, ring) if ring else loss
    for weight, head, target, of_head in further():
        loss = loss + weight * On(head, target, of_head)
    return loss


def lessons(model):
    if not fgsm_epsilon:
        return []
    return [Lesson("fgsm", train_loader(), FastGradientSign(fgsm_epsilon))]


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.2)
