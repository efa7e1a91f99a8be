"""What the UNOSAT baselines share: data, crops, sampler, network, loss, optimiser, schedule.

With accumulated batches a step follows the mean over their valid pixels; the original summed the
gradients of cross-entropy, so that these configs run at half its effective rate. The rates of its
table are kept.
"""

from torch.optim import SGD

from builtup.data import loaders
from builtup.data.radar import Radar
from builtup.models.channels import Channels
from builtup.models.losses import CrossEntropy, Jaccard
from builtup.models.networks import create_network
from builtup.models.segmenter import Segmenter
from builtup.training.schedules import poly

seed = 0
num_classes = 2
num_epochs = 100

data_path = "input/train_tiles"
val_fold = 0  # a city left out: its index, or a name such as "Mosul"
folds_drop = False
threshold_fold = None  # of cross_validate: a fold to choose the threshold on, or "next"
crop = 480  # 15/16 of a tile of 512: a pixel stays 10 m
scale, ratio = (0.7, 1.0), (0.9, 1.1)  # scale = None crops without resizing
pixel_size = None  # with scale = None: a pixel becomes (least, most) times as large
sampler_weights = (0.7, 0.3)  # of a tile without and with buildings
batch_size = 22
val_batch_size = 4
num_workers = 2
max_tiles = None
one_scene = False  # True: all crops of a batch are of one scene, as where networks are adapted
samples_per_epoch = None

# augmentation that knows radar, off: see builtup.data.radar
speckle_looks = None  # looks of the speckle multiplied in, or (least, most)
speckle_filter = 0  # largest window of a Lee filter, in pixels
gain_db = 0.0  # ± per polarisation
common_gain_db = 0.0  # ± for both together
contrast = 0.0  # decibels about their mean, up to 1 + contrast times
drop_polarisation = 0.0  # share of the samples with one polarisation only
noise_floor = 0.0  # ± linear power per polarisation
mix_dates = 0.0  # share of the samples with a patch of another date
coarse_dropout = None  # (most squares, their largest side as a share of the crop's)

architecture, encoder = "lwrefinenet", "mobilenet_v2"
pretrained = False  # True fetches the encoder's ImageNet weights
norm = "batch"  # or "group", which keeps no statistics of the training ground
channel_set, mean, std = "linear_3b", (0.0, 0.0, 0.0), (5.0, 5.0, 5.0)

class_weights = (0.1, 2.0)  # of background and building
label_smoothing = 0.0
jaccard = 0.0  # its weight beside cross-entropy
lr, momentum, weight_decay = 0.05, 0.9, 5e-4


def model():
    channels = Channels(channel_set, mean, std)
    network = create_network(
        architecture,
        encoder,
        in_channels=channels.out_channels,
        num_classes=num_classes,
        pretrained=pretrained,
        norm=norm,
    )
    return Segmenter(channels, network)


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
        radar=Radar(
            speckle_looks,
            gain_db,
            noise_floor,
            mix_dates,
            coarse_dropout,
            common_gain_db=common_gain_db,
            contrast=contrast,
            speckle_filter=speckle_filter,
            drop_polarisation=drop_polarisation,
        ),
        num_workers=num_workers,
        seed=seed,
        drop_common=folds_drop,
        max_tiles=max_tiles,
        one_scene=one_scene,
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
    )


def criterion():
    loss = CrossEntropy(*class_weights, label_smoothing=label_smoothing)
    return loss + jaccard * Jaccard() if jaccard else loss


def optimizer(model):
    return SGD(
        model.parameters(), lr=lr, momentum=momentum, nesterov=True, weight_decay=weight_decay
    )


def lr_scheduler(optimizer, total_steps):
    return poly(optimizer, total_steps)
