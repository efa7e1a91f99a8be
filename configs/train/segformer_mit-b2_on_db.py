"""SegFormer with a MiT-B2 encoder on decibels (Xie et al., NeurIPS 2021)."""

from torch.optim import AdamW

from builtup.training.schedules import poly

base = "_on_db.py"

architecture, encoder = "segformer", "mit_b2"
batch_size, accumulation_steps = 16, 1
lr, weight_decay = 1e-4, 0.01  # made for pretrained = True


def optimizer(model):
    return AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)


def lr_scheduler(optimizer, total_steps):
    return poly(optimizer, total_steps, power=1.0, warmup_steps=total_steps // 20)
