"""A student of its teacher's maps of images that nobody labelled: see docs/self_training.md."""

from builtup.data import loaders
from builtup.data.optical import Optical
from builtup.models.losses import CrossEntropy, Jaccard, SoftLabels
from builtup.prediction.student_start import student_start
from builtup.training.lessons import Lesson
from builtup.training.students import network_of

base = "../train/aerial/small_cpu.py"

teacher, pretrained = "", True  # any run; without its weights where this one is loaded
adapted = "output/self_train/teacher/adapted"  # to what it was for its maps
data_path, val_fold = "output/self_train/pseudo", None
num_classes = 2
normalisation = "config"  # the teacher's
num_workers, log_predictions, max_minutes = 0, 0, 6.0
brightness, contrast, saturation, hue, blur = 0.3, 0.3, 0.3, 0.05, 1.5  # the student's view
sampler_weights = (0.5, 0.5)
lr, ema_decay = 1e-3, 0.98
softness = 1.0  # temperature of the labels
labelled_path, labelled_weight = "", 1.0  # a folder of tiles with masks, taught beside


def model():
    network = network_of(teacher, weights=pretrained)
    return student_start(network, adapted) if pretrained else network


def _loader(folder, layer):
    view = Optical(brightness, contrast, saturation, hue, blur, shift, rotate, shear, cutout)
    options = {"val_fold": val_fold, "batch_size": batch_size, "crop": crop, "scale": scale}
    options |= {"sampler_weights": sampler_weights, "samples_per_epoch": samples_per_epoch}
    options |= {"channel_set": channel_set, "num_workers": num_workers, "seed": seed}
    options |= {"reference_pixel": reference_pixel}  # the teacher's
    return loaders.train_loader(folder, layer=layer, optical=view, **options)


def train_loader():
    return _loader(data_path, "soft")


def criterion():
    return SoftLabels(softness)


def lessons(model):
    if not labelled_path:
        return []
    loader, loss = _loader(labelled_path, "masks"), CrossEntropy() + Jaccard()
    return [Lesson("labelled", loader, loss, weight=labelled_weight)]
