import math

from fnet_jax.train.checkpoints.best import better


def test_better():
    assert better(0.5, 0.4) and not better(0.4, 0.5) and not better(0.5, 0.5)
    assert better(-1.0, math.nan) and not better(math.nan, -1.0) and not better(math.nan, math.nan)
