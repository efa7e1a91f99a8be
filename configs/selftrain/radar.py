"""A student of its teacher's own maps, on scenes that nobody labelled: see docs/self_training.md.

It begins with the teacher's weights and learns the probabilities that this gave the mean of all
dates of a city, from single dates, under speckle and gain: what one date hides the others show.
"""

from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from builtup.data import loaders
from builtup.data.radar import Radar
from builtup.models.losses import CrossEntropy, Jaccard, SoftLabels
from builtup.training.lessons import Lesson
from builtup.training.students import network_of
from builtup.training.tagged import shares_lesson

seed, num_classes, num_epochs = 0, 2, 10
teacher, pretrained = (
    "shipped",
    True,
)  # a training run; without its weights where a run is loaded again
data_path = "output/self_train/pseudo"
val_fold = None
batch_size, crop, samples_per_epoch = 16, 96, 640  # 400 iterations
num_workers = 0
sampler_weights = (0.5, 0.5)
softness = 1.0  # temperature of the labels
speckle_looks, gain_db = 4.4, 1.5
ema_decay = 0.99
lr, weight_decay = 1e-3, 1e-4
max_minutes = 6.0
log_predictions = 0

labelled_path, labelled_weight = "", 1.0  # a folder of tiles with masks, taught beside
shares_weight, tolerance, apart = 0.0, 0.15, 0.75  # of the layer `shares` of data_path


def model():
    return network_of(teacher, weights=pretrained)


def _loader(folder, **options):
    radar = Radar(speckle_looks=speckle_looks, gain_db=gain_db)
    return loaders.train_loader(
        folder, val_fold=val_fold, batch_size=batch_size, crop=crop, scale=None, radar=radar,
        num_workers=num_workers, seed=seed, samples_per_epoch=samples_per_epoch, **options,
    )  # fmt: skip


def train_loader():
    return _loader(data_path, sampler_weights=sampler_weights, layer="soft")


def criterion():
    return SoftLabels(softness)


def lessons(model):
    found = []
    if labelled_path:
        loss = CrossEntropy() + Jaccard()
        loader = _loader(labelled_path, sampler_weights=sampler_weights)
        found.append(Lesson("labelled", loader, loss, weight=labelled_weight))
    if shares_weight:
        found.append(
            shares_lesson(
                data_path, batch_size=batch_size, crop=crop, seed=seed + 1,
                weight=shares_weight, tolerance=tolerance, apart=apart,
            )
        )  # fmt: skip
    return found


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return OneCycleLR(optimizer, lr, total_steps=total_steps, pct_start=0.2)
