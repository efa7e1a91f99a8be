"""Trainer, evaluator, handlers, checkpoints and what follows a training."""
