"""The noisy student of Open Cities: EfficientFPN-B2, every fifth step a batch of soft labels.

Labels of data_path teach as ever; soft labels are those that `pseudo_labels` made of scenes that
have none, or none that are whole: see docs/self_training.md. Wants a GPU.
"""

from builtup.data import loaders
from builtup.data.optical import Optical
from builtup.models.losses import CrossEntropy
from builtup.training.lessons import Lesson
from builtup.training.soft import SoftLesson

base = "../train/open_cities/efficientfpn_b2.py"

drop_connect = 0.5
soft_path, soft_every, soft_weight = "output/pseudo", 5, 1.0
negatives_path = ""  # a folder of mode=negatives, taught as labels at the same steps
softness = 1.0  # temperature of the labels; the options of builtup.training.soft, each off:
ema, ema_decay = 0.0, None  # share of the moving average in the targets, and its decay
debias, prior, keep, mixup = 0.0, None, 0.0, 0.0


def _beside(folder, layer):
    view = Optical(brightness, contrast, saturation, hue, blur, shift, rotate, shear, cutout)
    options = {"batch_size": batch_size, "crop": crop, "scale": scale, "pixel_size": pixel_size}
    options |= {"reference_pixel": reference_pixel, "sampler_weights": sampler_weights}
    options |= {"channel_set": channel_set, "num_workers": num_workers, "seed": seed + 1}
    return loaders.train_loader(folder, val_fold=None, layer=layer, optical=view, **options)


def lessons(model):
    loss = SoftLesson(softness, ema, debias, prior, keep=keep, mixup=mixup, seed=seed)
    found = [Lesson("soft", _beside(soft_path, "soft"), loss, soft_weight, soft_every)]
    if negatives_path:
        loader = _beside(negatives_path, "masks")
        found.append(Lesson("negatives", loader, CrossEntropy(), every=soft_every))
    return found
