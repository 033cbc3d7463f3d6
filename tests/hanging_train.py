"""train.py whose input hangs after the first step, for `test_faults.py`."""

import signal
import sys

from fnet_jax.runtime import cli
from fnet_jax.tools import train
from fnet_jax.train import batches, loop


def hanging(*args):
    whole = batches.train_batches(*args)
    yield next(whole)
    print("hanging", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    loop.train_batches = hanging
    train.define_flags()
    sys.exit(cli.run(train.main))
