"""Every config in configs/: short, loads without data, and what it builds can learn and map."""

from __future__ import annotations

import re

import pytest
import torch

from builtup.config import load as configs
from builtup.data import cells, loaders
from builtup.data.optical import Optical
from builtup.errors import ConfigError
from builtup.models import networks
from builtup.models.channels import inputs_of
from builtup.models.heads import class_logits, heads_of, terms_of
from builtup.models.satellite import SATELLITE_WEIGHTS
from builtup.models.segmenter import Segmenter
from builtup.studies.search_space import require_space
from builtup.training.tagged import Distrust, Mean, TagLoss
from helpers import ROOT

TRAIN = sorted(p for p in (ROOT / "configs/train").rglob("*.py") if not p.name.startswith("_"))
AERIAL = [p for p in TRAIN if p.parent.name == "aerial"]
OPEN_CITIES = [p for p in TRAIN if p.parent.name == "open_cities"]
WEAK = [p for p in TRAIN if p.parent.name == "weak"]
RADAR = [p for p in TRAIN if p not in (*AERIAL, *OPEN_CITIES, *WEAK)]
INFERENCE = sorted(
    p for p in (ROOT / "configs/inference").rglob("*.py") if not p.name.startswith("_")
)
SELF = sorted((ROOT / "configs/selftrain").glob("*.py"))
SEARCH = sorted((ROOT / "configs/search").glob("*.py"))
#: The rows of the table in the facts about the original: what a config must not lose.
CE, BOTH = False, True
TABLE = {
    # channel set, class weights, Jaccard, sampler, Adam, rate, batch, accumulation, epochs
    "lwrefinenet": ("linear_3b", (0.1, 2), CE, 0.7, False, 0.05, 22, 2, 100),
    "lwrefinenet_xentropy_jaccard": ("linear_3b", (0.1, 2), BOTH, 0.7, False, 0.045, 22, 2, 100),
    "resnet50-unet": ("linear_3b", (0.5, 1), CE, 0.7, False, 0.05, 22, 1, 100),
    "deeplabv3": ("linear_3b", (0.1, 2), BOTH, 0.7, False, 0.045, 10, 2, 100),
    "se_resnext50-FPN_on_db": ("db_3b", (0.75, 1.5), CE, 0.5, True, 1e-3, 23, 2, 50),
    "lwrefinenet_on_db": ("db_3b", (0.75, 1.5), CE, 0.5, True, 1e-3, 24, 2, 50),
    "lwrefinenet_on_db_xentropy_jaccard": ("db_3b", (1, 1), BOTH, 0.5, True, 1e-3, 24, 2, 50),
    "lwrefinenet_on_5b_db": ("db_5b", (0.5, 1.5), CE, 0.5, True, 1e-3, 24, 2, 50),
    "lwrefinenet_train_mean_std": ("linear_3b", (1, 1), CE, 0.5, True, 1e-3, 24, 2, 50),
    "lwrefinenet_2log": ("log_3b", (0.1, 2), CE, 0.7, False, 0.05, 22, 1, 100),
    "lwrefinenet_5b": ("linear_5b", (0.1, 3), CE, 0.7, False, 0.05, 22, 1, 100),
    "lwrefinenet_6b_lwf": ("linear_6b", (0.1, 2), CE, 0.7, False, 0.075, 22, 1, 100),
    "lwrefinenet_sqrt": ("minmax_3b", (0.1, 2), CE, 0.7, False, 0.05, 22, 1, 100),
    "lwrefinenet_sampling": ("linear_3b", (1, 1), CE, 0.7, False, 0.05, 22, 1, 100),
    "lwrefinenet_lwf": ("linear_3b", (0.5, 2), CE, 0.7, False, 0.05, 22, 2, 100),
    "efficientb3-unet": ("linear_3b", (0.1, 2), CE, 0.7, False, 0.05, 16, 1, 100),
    "resnet50-pspnet": ("linear_3b", (0.5, 1), CE, 0.7, False, 0.05, 36, 1, 100),
    "densenet_linknet_on_db_xentropy_jaccard": (
        *("db_3b", (1, 1), BOTH, 0.5, True, 1e-3, 22, 4, 50),
    ),
    "deeplabv3_on_db_xentropy_jaccard": ("db_3b", (0.75, 1.5), BOTH, 0.5, True, 1e-3, 9, 2, 50),
    "se_resnext50-FPN_on_db_lr_restart": ("db_3b", (0.5, 1.5), CE, 0.5, True, 2e-3, 22, 2, 50),
    "no_val/lwrefinenet_on_db": ("db_3b", (1, 1), CE, 0.5, True, 1e-3, 24, 2, 50),
}
#: The slow ones of two configs whose networks are the same; the other's is trained in the tests.
TWINS = {
    "baseline_deeplabv3_on_db_xentropy_jaccard": "baseline_deeplabv3",
    "baseline_se_resnext50-FPN_on_db_lr_restart": "baseline_se_resnext50-FPN_on_db",
    "unet_resnet50_sentinel1_on_db": "baseline_resnet50-unet",
    **dict.fromkeys([f"weak/{stem}" for stem in ("m1", "m3", "m4", "m4_ema", "upper")], "b1"),
    "weak/task_ii": "task_i_dropout",
}
#: No test may need the network.
OFFLINE = "data_path=nowhere pretrained=false"


def name(path):
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix().partition("/")[2]


def without_weights(path):
    settings = configs.load(path).read_settings()
    known = "pretrained" in settings
    # which are otherwise those of the data
    of_data = path in WEAK and settings.get("class_weights", ()) is None
    weights = " class_weights=(1,1,1,1,1,1)" if of_data else ""
    return configs.load(path, (OFFLINE if known else "data_path=nowhere") + weights)


@pytest.mark.parametrize("path", [*TRAIN, *SELF, *INFERENCE], ids=name)
def test_a_config_is_short_and_says_what_it_is(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= (55 if path in SELF else 45)  # it has lessons as well
    assert lines[0].startswith('"""')
    if path.name.startswith("baseline_"):
        assert len(lines) <= 40


def build(config):
    """Model, criterion, optimiser and schedule."""
    torch.manual_seed(0)
    model = config.build("model")
    optimizer, criterion = config.build("optimizer"), config.build("criterion")
    config.provide(total_steps=100)
    return model, criterion, optimizer, config.build("lr_scheduler")


def learn_two_steps(config):
    model, criterion, optimizer, scheduler = build(config)
    assert isinstance(model, Segmenter)
    image = torch.rand(2, len(inputs_of(model)), 32, 32) * 0.2
    image[:, :, :8] = torch.nan
    target = torch.randint(0, 2, (2, 32, 32))
    target[:, :8] = 255
    height = torch.where(target == 255, torch.nan, 3.0)[:, None]
    further = {"presence": torch.tensor([1, 255]), "log_pixel": torch.tensor([-2.0, torch.nan])}
    targets = {"mask": target, "height": height, **further} if heads_of(model) else target
    for _ in range(2):
        outputs = model(image)
        assert class_logits(outputs).shape == (2, config.num_classes, 32, 32)
        loss = criterion(outputs, targets)
        assert torch.isfinite(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("path", [p for p in TRAIN if name(p) not in TWINS], ids=name)
def test_a_training_config_builds_what_learns_in_two_steps(path):
    config = without_weights(path)
    config.require("seed", "num_classes", "num_epochs", "data_path", "val_fold")
    learn_two_steps(config)


@pytest.mark.parametrize("path", [p for p in TRAIN if name(p) in TWINS], ids=name)
def test_a_twin_learns_too_and_its_network_is_that_of_a_config_above(path, monkeypatch):
    asked = []

    def small(*names, in_channels, num_classes, **options):
        asked.append((names, num_classes, options))
        return torch.nn.Conv2d(in_channels, num_classes, 1)

    monkeypatch.setattr(networks, "create_network", small)
    learn_two_steps(without_weights(path))
    without_weights(path.with_stem(TWINS[name(path)])).build("model")
    assert asked[0] == asked[1]


def test_every_row_of_the_table_has_its_config():
    baselines = {name(p).replace("baseline_", "") for p in TRAIN if "baseline_" in p.name}
    assert baselines == set(TABLE)


@pytest.mark.parametrize("row", TABLE)
def test_a_baseline_has_the_settings_of_the_table(row):
    folder, _, stem = row.rpartition("/")
    config = configs.load(ROOT / "configs/train" / folder / f"baseline_{stem}.py")
    assert config.name == f"{folder}/baseline_{stem}".strip("/")
    channels, weights, jaccard, without, adam, rate, batch, accumulation, epochs = TABLE[row]
    assert config.channel_set == channels
    loss = f"CE({weights[0]:g}, {weights[1]:g})" + (" + 2·Jaccard" if jaccard else "")
    assert str(config.build("criterion")) == loss
    assert config.sampler_weights == pytest.approx((without, 1 - without))
    config.built["model"] = torch.nn.Linear(1, 1)
    optimizer = config.build("optimizer")
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.Adam) is adam
    assert group["lr"] == rate and group["weight_decay"] == (1e-4 if adam else 5e-4)
    assert adam or (group["momentum"] == 0.9 and group["nesterov"])
    assert (config.batch_size, config.accumulation_steps) == (batch, accumulation)
    assert config.num_epochs == epochs
    assert (config.val_fold is None) is (folder == "no_val")


@pytest.mark.parametrize(
    ("row", "crop", "scale"),
    [
        ("lwrefinenet", 480, (0.7, 1.0)),
        ("deeplabv3", 480, (0.8, 1.0)),
        ("lwrefinenet_xentropy_jaccard", 480, (0.8, 1.0)),
        ("lwrefinenet_2log", 480, None),
        ("lwrefinenet_5b", 480, None),
        ("lwrefinenet_6b_lwf", 440, None),
        ("lwrefinenet_sampling", 480, None),
    ],
)
def test_a_baseline_crops_as_the_table_says(row, crop, scale):
    config = configs.load(ROOT / f"configs/train/baseline_{row}.py")
    assert (config.crop, config.scale) == (crop, scale)


@pytest.mark.parametrize("row", ["lwrefinenet_on_5b_db", "se_resnext50-FPN_on_db_lr_restart"])
def test_the_rate_restarts_at_half_the_run_with_half_its_value(row):
    config = configs.load(ROOT / f"configs/train/baseline_{row}.py")
    config.built["model"] = torch.nn.Linear(1, 1)
    optimizer = config.build("optimizer")
    config.provide(total_steps=100)
    scheduler = config.build("lr_scheduler")
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"] / config.lr)
        optimizer.step()
        scheduler.step()
    assert rates[0] == 1 and rates[50] == 0.5 and rates[49] < 0.05 and rates[99] < 0.05
    assert rates[75] == pytest.approx(0.5 * 0.5**0.9)
    assert rates[100] == 0


def test_the_encoder_pretrained_on_sentinel_1_gets_the_channels_that_it_knows():
    config = configs.load(ROOT / "configs/train/unet_resnet50_sentinel1_on_db.py")
    known = SATELLITE_WEIGHTS[config.pretrained]
    assert (config.encoder, config.channel_set) == (known.encoder, known.channel_set)
    assert (config.mean, config.std, config.normalisation) == (known.mean, known.std, "config")


def test_augmentation_and_averages_are_options_of_any_config():
    given = "scale=none speckle_looks=8 coarse_dropout=6,0.15 mix_dates=0.3 ema_decay=0.9 soup=3"
    for path in RADAR:
        config = configs.load(path, given)
        assert (config.scale, config.speckle_looks) == (None, 8.0)
        assert (config.coarse_dropout, config.mix_dates) == ((6, 0.15), 0.3)
        assert (config.ema_decay, config.soup) == (0.9, 3)


def _bases(path):
    """The text of a config and of those that it begins with."""
    text = path.read_text()
    found = re.search(r'^base = "(.+)"', text, re.MULTILINE)
    return text + (_bases(path.parent / found[1]) if found else "")


def test_what_varies_for_new_ground_is_off_but_where_it_was_chosen():
    off = {"gain_db": 0.0, "common_gain_db": 0.0, "contrast": 0.0, "noise_floor": 0.0}
    off |= {"speckle_looks": None, "speckle_filter": 0, "drop_polarisation": 0.0}
    off |= {"pixel_size": None}
    for path in RADAR:
        config = configs.load(path)
        varied = {name for name, value in off.items() if config.get(name) != value}
        gain = {"gain_db"} if "gain_db = 3.0" in _bases(path) else set()
        wanted = gain | ({"drop_polarisation"} if path.stem == "new_ground" else set())
        assert varied == wanted, path
    given = configs.load(RADAR[0], "speckle_looks=1,30 pixel_size=(0.7,1.4) norm=group")
    assert (given.speckle_looks, given.pixel_size) == ((1, 30), (0.7, 1.4))


@pytest.mark.parametrize("stem", ["recommended_cpu", "ablation/network", "baseline_lwrefinenet"])
def test_group_normalisation_is_an_option(stem):
    path = ROOT / f"configs/train/{stem}.py"
    names = str(configs.load(path, f"{OFFLINE.split()[0]} norm=group").build("model"))
    assert "GroupNorm" in names and "BatchNorm" not in names
    assert "GroupNorm" not in str(configs.load(path, OFFLINE.split()[0]).build("model"))


@pytest.mark.parametrize(("kind", "has_targets"), [("validate", True), ("test", False)])
def test_a_training_is_named_by_its_config_in_two_inference_configs_for_all(kind, has_targets):
    config = configs.load(ROOT / f"configs/inference/{kind}.py", "of=no_val/baseline_x")
    assert config.of == "no_val/baseline_x" and config.has_targets is has_targets


@pytest.mark.parametrize("path", INFERENCE, ids=name)
def test_an_inference_config_needs_a_run_id_only(path):
    config = configs.load(path, "run_id=0123456789abcdef0123456789abcdef")
    assert config.run_id == "0123456789abcdef0123456789abcdef"
    config.require("data_path", "tta", "window", "overlap", "has_targets")


@pytest.mark.parametrize(("stem", "fold"), [("plain", None), ("vote", "vote"), ("soft", "soft")])
def test_an_aerial_inference_maps_whole_scenes_with_a_gaussian_at_half_steps(stem, fold):
    config = configs.load(ROOT / f"configs/inference/aerial/{stem}.py", "of=aerial/modern")
    assert (config.by, config.stride, config.blend) == ("scenes", 2, "gaussian")
    assert config.get("fold") == fold and not config.has_targets and config.of == "aerial/modern"
    config.require_read("inference")


def test_a_run_id_of_digits_stays_text():
    config = configs.load(INFERENCE[0], "run_id=12345678901234567890123456789012")
    assert config.run_id == "12345678901234567890123456789012"


@pytest.mark.parametrize("stem", ["recommended", "recommended_cpu"])
def test_a_recommended_config_for_a_submission_differs_in_its_ground_only(stem):
    one = configs.load(ROOT / f"configs/train/{stem}.py")
    other = configs.load(ROOT / f"configs/train/no_val/{stem}.py")
    differ = {k for k in one.settings.keys() | other.settings.keys() if one.get(k) != other.get(k)}
    assert differ == {"val_fold", "threshold_from"}
    assert (other.val_fold, other.threshold_from) == (None, stem)
    assert str(one.build("model")) == str(other.build("model"))


def test_the_aerial_configs_are_those_of_the_docs():
    text = (ROOT / "docs/aerial.md").read_text()
    assert {p.stem for p in AERIAL} == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def test_the_open_cities_configs_are_those_of_the_docs():
    _, _, text = (ROOT / "docs/open_cities.md").read_text().partition("## The networks")
    found = re.findall(r"^\| `(\w+)` \|", text.partition("\n## ")[0], re.MULTILINE)
    assert {p.stem for p in OPEN_CITIES} == set(found)


def test_the_submission_is_that_of_the_benchmark():
    """U-Net, MobileNetV2, Adam at 1e-4, batches of 8, cross-entropy, flips, an early stop."""
    config = without_weights(ROOT / "configs/train/aerial/unet_mobilenet.py")
    model, criterion, optimizer, scheduler = build(config)
    assert type(model.network).__name__ == "Unet"
    assert (config.encoder, config.batch_size) == ("mobilenet_v2", 8)
    assert type(optimizer) is torch.optim.Adam and optimizer.defaults["weight_decay"] == 0
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [1e-4]
    assert str(criterion) == "CE(1, 1, 1, 1, 1, 1)"
    assert config.flips is True and config.es_patience == 10
    assert (config.ema_decay, config.pixel_size, config.fgsm_epsilon) == (None, None, 0.0)


def test_a_weight_of_height_asks_network_loader_and_loss_for_it(monkeypatch):
    asked = {}
    monkeypatch.setattr(loaders, "train_loader", lambda *_, **options: asked.update(options))
    for alpha, wanted in ((0, ()), (10, ("height",))):
        config = configs.load(
            ROOT / "configs/train/aerial/unet_mobilenet.py", f"elevation_alpha={alpha}"
        )
        config.build("train_loader")
        assert asked["targets"] == heads_of(config.build("model")) == wanted
        terms = {term.name: term.weight for term in terms_of(config.build("criterion"))}
        assert terms == ({"classes": 1.0, "height": 10.0} if alpha else {})


def test_losses_and_augmentation_from_the_air_are_settings(monkeypatch):
    asked = {}
    monkeypatch.setattr(loaders, "train_loader", lambda *_, **options: asked.update(options))
    config = configs.load(
        ROOT / "configs/train/aerial/robust.py",
        "focal_tversky=2 f1=1 rotate=10 shear=5 cutout=(2,0.2) flips=false height_dropout=0.5",
    )
    config.build("train_loader")
    assert (asked["flips"], asked["height_dropout"]) == (False, 0.5)
    optical = asked["optical"]
    assert (optical.rotate, optical.shear, optical.cutout) == (10, 5, (2, 0.2))
    ones = ", ".join("1" * 6)
    assert str(config.build("criterion")) == (
        f"(0.5·CE({ones}, smoothing 0.05) + 0.5·symmetric CE({ones}, alpha 0, beta 1) + "
        "2·focal Tversky(0.7, 0.3, gamma 0.75) + F1) without borders of 2 px"
    )


def test_adversarial_images_are_a_lesson_where_they_are_asked_for(monkeypatch):
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    monkeypatch.setattr(loaders, "train_loader", lambda *_, **options: [batch])
    path = ROOT / "configs/train/aerial/unet_mobilenet.py"
    for epsilon, wanted in ((0, []), (2, ["fgsm"])):
        config = configs.load(path, f"fgsm_epsilon={epsilon}")
        config.built["model"] = torch.nn.Linear(1, 1)
        assert [str(lesson) for lesson in config.build("lessons")] == wanted


@pytest.mark.parametrize("path", SEARCH, ids=lambda path: path.stem)
def test_a_search_tries_settings_of_its_base(path):
    config = configs.load(path, "data_path=nowhere")
    base = configs.load(config.chain[-2])
    drawn = require_space(config, "")
    assert drawn and configs.load(base.path, drawn)
    assert config.metric.removeprefix("val/") in config.val_metrics
    assert len(path.read_text().splitlines()) <= 40


def test_open_cities_has_the_recipe_of_its_submission(monkeypatch):
    """Focal + .1 Dice + focal of presence + Huber of scale; AdamW, one cycle with 30 % upwards."""
    asked = {}
    monkeypatch.setattr(loaders, "train_loader", lambda *_, **options: asked.update(options))
    config = without_weights(ROOT / "configs/train/open_cities/efficientfpn_b1.py")
    config.build("train_loader")
    assert asked["targets"] == ("presence", "log_pixel") and asked["reference_pixel"] == 0.1
    model, criterion, optimizer, scheduler = build(config)
    assert heads_of(model) == ("building", "presence", "scale")
    assert str(criterion) == (
        "focal(0.25, 0.75, gamma 2) + 0.1·building binary Dice + "
        "presence focal(0.25, 0.75, gamma 2) + 0.1·scale smooth L1(1)"
    )
    assert type(optimizer) is torch.optim.AdamW
    rates = []
    for _ in range(100):
        rates.append(scheduler.get_last_lr()[0] / config.lr)
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1 / 25) and rates.index(max(rates)) == 29


@pytest.mark.parametrize("off", ["building_dice", "presence_focal", "scale_huber"])
def test_each_head_of_open_cities_can_be_left_out(off):
    path = ROOT / "configs/train/open_cities/small_cpu.py"
    config = configs.load(path, f"{OFFLINE} {off}=0 gate=false context_block=false")
    model, criterion, *_ = build(config)
    assert heads_of(model) == tuple(t.loss.head for t in terms_of(criterion))[1:]
    assert len(heads_of(model)) == 2


def test_the_weak_configs_are_those_of_the_docs():
    _, _, text = (ROOT / "docs/configs.md").read_text().partition("## Weak labels")
    found = re.findall(r"^\| weak/(\w+) \|", text.partition("\n## ")[0], re.MULTILINE)
    assert {p.stem for p in WEAK} == set(found)


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("b1", []),
        ("m1", ["0.5·tags"]),
        ("m3", ["pseudo", "0.5·tags"]),
        ("m4", ["0.5·tags", "consistency"]),
        ("m4_ema", ["0.5·tags", "consistency"]),
        ("task_ii", ["0.5·tags"]),
        ("task_ii_tags", ["scores", "masks, since epoch 5"]),
        ("cam", ["scores"]),
    ],
)
def test_a_step_of_the_weak_ladder_has_its_lessons(stem, wanted, monkeypatch):
    batch = {"image": torch.zeros(1, 3, 8, 8), "mask": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    for module, loader in ((loaders, "train_loader"), (cells, "tag_loader")):
        monkeypatch.setattr(module, loader, lambda *_, **options: [batch])
    config = without_weights(ROOT / f"configs/train/weak/{stem}.py")
    config.built["model"] = torch.nn.Linear(1, 1)
    found = config.build("lessons")
    assert [str(lesson) for lesson in found] == wanted
    # what is normal in scenes of which few have pixels; not in strong views of them
    assert all(lesson.norms == (lesson.name in ("pseudo", "tags")) for lesson in found)


def test_shares_are_distrusted_and_tags_are_not(monkeypatch):
    monkeypatch.setattr(cells, "tag_loader", lambda *_, **options: [{}])

    def loss(settings):
        path = ROOT / "configs/train/weak/radar.py"
        config = configs.load(path, f"tags_weight=0.5 {settings}")
        config.built["model"] = torch.nn.Linear(1, 1)
        return config.build("lessons")[0].loss

    assert loss("tags_r=0") == TagLoss(Mean())
    assert loss("tags_r=0 tags_apart=0.5") == TagLoss(Mean(), Distrust(apart=0.5))
    with pytest.raises(ConfigError, match="tags_apart is for tags that are shares"):
        loss("tags_apart=0.5")


def test_the_weak_recipe_is_that_of_its_facts():
    """AdamW at 2e-4, the encoder at half of it, CE + Dice, the teacher of UniMatch V2."""
    config = without_weights(ROOT / "configs/train/weak/m4_ema.py")
    config.built["model"] = torch.nn.ModuleDict(
        {"network": torch.nn.ModuleDict({"encoder": torch.nn.Linear(1, 1)})}
    )
    optimizer = config.build("optimizer")
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4]
    assert type(optimizer) is torch.optim.AdamW
    assert str(config.build("criterion")) == "CE(1, 1, 1, 1, 1, 1) + Dice"
    assert (config.ema_decay, config.ema_warmup, config.keep) == (0.996, "one", 0.95)
    assert (config.feature_dropout, config.views, config.rarest) == ("complementary", 2, 0.3)


def test_strong_views_are_five_numbers(monkeypatch):
    monkeypatch.setattr(cells, "tag_loader", lambda *_, **options: [{}])

    def views(settings):
        config = configs.load(ROOT / "configs/train/weak/m4.py", f"{OFFLINE} {settings}")
        config.built["model"] = torch.nn.Linear(1, 1)
        return config.build("lessons")[1].loss.strong

    assert views("strong_views=0.1,0.2,0.3,0.04,1") == Optical(0.1, 0.2, 0.3, 0.04, 1)
    with pytest.raises(ConfigError, match=r"strong_views = .*: expected five numbers"):
        views("strong_views=0.5,0.5")
