"""A student of its teacher's maps, on scenes that nobody labelled: see docs/self_training.md."""

from builtup.data import loaders
from builtup.data.radar import Radar
from builtup.models.losses import CrossEntropy, Jaccard, SoftLabels
from builtup.prediction.student_start import student_start
from builtup.training.lessons import Lesson
from builtup.training.students import network_of
from builtup.training.tagged import shares_lesson

base = "../train/recommended_cpu.py"

teacher, pretrained = "shipped", True  # any run; without its weights where this one is loaded
adapted = "output/self_train/teacher/adapted"  # to what it was for its maps
data_path, val_fold = "output/self_train/pseudo", None
normalisation = "config"  # the teacher's
num_workers, log_predictions, max_minutes = 0, 0, 6.0
speckle_looks, gain_db = 4.4, 1.5  # the student's view
lr = 1e-3
softness = 1.0  # temperature of the labels
labelled_path, labelled_weight = "", 1.0  # a folder of tiles with masks, taught beside
shares_weight, tolerance, apart = 0.0, 0.15, 0.75  # of the layer `shares` of data_path


def model():
    network = network_of(teacher, weights=pretrained)
    return student_start(network, adapted) if pretrained else network


def _loader(folder, layer):
    options = {"val_fold": val_fold, "batch_size": batch_size, "crop": crop, "scale": scale}
    options |= {"sampler_weights": sampler_weights, "samples_per_epoch": samples_per_epoch}
    options |= {"radar": Radar(speckle_looks, gain_db), "num_workers": num_workers, "seed": seed}
    return loaders.train_loader(folder, layer=layer, **options)


def train_loader():
    return _loader(data_path, "soft")


def criterion():
    return SoftLabels(softness)


def lessons(model):
    found = []
    if labelled_path:
        loader, loss = _loader(labelled_path, "masks"), CrossEntropy() + Jaccard()
        found.append(Lesson("labelled", loader, loss, weight=labelled_weight))
    if shares_weight:
        how = {"weight": shares_weight, "tolerance": tolerance, "apart": apart, "seed": seed + 1}
        found.append(shares_lesson(data_path, batch_size=batch_size, crop=crop, **how))
    return found
