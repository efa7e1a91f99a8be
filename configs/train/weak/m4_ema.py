"""M4 whose teacher is the moving average of the weights, with UniMatch V2's hidden features."""

base = "m4.py"

ema_decay, ema_warmup = 0.996, "one"
feature_dropout = "complementary"
