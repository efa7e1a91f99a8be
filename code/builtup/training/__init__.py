"""Trainer, evaluator, handlers and metrics."""
