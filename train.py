"""Trains: python train.py --config=configs/pretrain.py:size=tiny --workdir=W."""

from collections.abc import Sequence

from fnet_jax.core import cli, distributed

cli.define_run_flags()
distributed.define_flags()


def main(argv: Sequence[str]) -> int:
    """Trains until done; the exit code says how it ended (see `fnet_jax/core/cli.py`)."""
    del argv
    config, workdir = cli.config(), cli.workdir()
    distributed.start_by_flags(config, workdir)

    # Imported late: a wrong flag is answered at once, and input worker processes stay light.
    from fnet_jax.train.loop import train

    return train(config, workdir)


if __name__ == "__main__":
    cli.run(main)
