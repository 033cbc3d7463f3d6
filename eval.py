"""Evaluates a checkpoint: python eval.py --config=configs/pretrain.py:size=tiny --workdir=W.

Without --config, the config that training left in the workdir. Reads only, beside a running trainer
too; the result goes to the screen and to WORKDIR/eval.jsonl.
"""

from collections.abc import Sequence

from absl import flags

from fnet_jax.core import cli

cli.define_run_flags()
flags.DEFINE_integer("step", None, "Step of the checkpoint; the newest by default.")


def main(argv: Sequence[str]) -> None:
    """Prints a table and one JSON line."""
    del argv
    config, workdir = cli.config(), cli.workdir()

    from fnet_jax.train import evaluate

    values = evaluate.evaluate_checkpoint(config, workdir, flags.FLAGS.step)
    print(evaluate.table(values))
    print(evaluate.record(workdir, values))


if __name__ == "__main__":
    cli.run(main)
