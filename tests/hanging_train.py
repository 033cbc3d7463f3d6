"""train.py whose input hangs after the first step, for `test_faults.py`."""

import signal
import sys

from fnet_jax.runtime import cli
from fnet_jax.tools import train
from fnet_jax.train.setup import Setup

whole = Setup.device_batches


def hanging(setup: Setup, *args, **kwargs):
    batches, *counts = whole(setup, *args, **kwargs)

    def iterate():
        yield next(batches)
        print("hanging", flush=True)
        while True:
            signal.pause()

    return iterate(), *counts


if __name__ == "__main__":
    Setup.device_batches = hanging
    train.define_flags()
    sys.exit(cli.run(train.main))
