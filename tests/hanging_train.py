"""train.py whose input hangs after the first step, for `test_faults.py`."""

import signal
import sys

from fnet_jax.runtime import cli
from fnet_jax.tools import train
from fnet_jax.train.run import Run

whole = Run.device_batches


def hanging(run: Run, *args, **kwargs):
    batches, *counts = whole(run, *args, **kwargs)

    def iterate():
        yield next(batches)
        print("hanging", flush=True)
        while True:
            signal.pause()

    return iterate(), *counts


if __name__ == "__main__":
    Run.device_batches = hanging
    train.define_flags()
    sys.exit(cli.run(train.main))
