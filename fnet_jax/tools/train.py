"""Trains a model: fnet train --config=configs/pretrain.py:size=tiny --workdir=W.

Without the package installed, python train.py in place of fnet train. The exit codes are those of every
program, see docs/faults.md.
"""

import time

STARTED = time.perf_counter()  # before the imports, which take their time

from collections.abc import Sequence  # noqa: E402

from fnet_jax.runtime import cli, distributed, signals  # noqa: E402
from fnet_jax.train.concrete import read_config  # noqa: E402


def main(argv: Sequence[str]) -> int:
    """Trains until done; the exit code says how it ended (see `fnet_jax/runtime/cli.py`)."""
    del argv
    signals.install()
    config, workdir = read_config(), cli.workdir()
    distributed.start_by_flags(config, workdir)

    # Imported late: a wrong flag is answered at once, and input worker processes stay light.
    from fnet_jax.train.loop import train

    return train(config, workdir, STARTED)


def define_flags() -> None:
    """Defines all flags."""
    cli.define_run_flags()
    distributed.define_flags()


if __name__ == "__main__":
    define_flags()
    cli.run(main)
