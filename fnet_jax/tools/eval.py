"""Evaluates a checkpoint: fnet eval --workdir=W, or python eval.py --workdir=W.

Without --config, the config that training left in the workdir. Reads only, beside a running trainer
too; the result goes to the screen and to WORKDIR/eval.jsonl. With --watch, every checkpoint as it comes.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli, distributed, hosts
from fnet_jax.train.concrete import read_config


def main(argv: Sequence[str]) -> None:
    """Prints a table and one JSON line for each checkpoint."""
    del argv
    flag = flags.FLAGS
    config, workdir = read_config(), cli.workdir()
    if flag.watch and flag.step is not None:
        raise UserError(f"--step={flag.step} and --watch exclude each other; leave one out")
    distributed.start_by_flags(config, workdir)

    from fnet_jax.runtime import compile_cache
    from fnet_jax.train import evaluate, watch
    from fnet_jax.train.logs import results

    compile_cache.enable()

    def show(values: dict[str, Any]) -> None:
        if not hosts.is_primary():
            return
        print(results.table(values))
        print(results.record(workdir, values), flush=True)

    configs = [evaluate.on_task(config, task) for task in flag.tasks] or [config]
    if flag.watch and len(configs) > 1:
        raise UserError(f"--watch follows one task, --tasks={','.join(flag.tasks)} names {len(configs)}")
    if flag.watch:
        (config,) = configs
        for values in watch.watch(config, workdir, flag.splits, flag.watch_seconds):
            show(values)
        return
    for config in configs:
        show(evaluate.evaluate_checkpoint(config, workdir, flag.step, flag.splits, write_predictions=True))


def define_flags() -> None:
    """Defines all flags."""
    cli.define_run_flags()
    distributed.define_flags()
    flags.DEFINE_integer("step", None, "Step of the checkpoint; the best one by default, or the newest.")
    flags.DEFINE_list(
        "tasks", [], "Evaluate on these tasks; they must have the labels of the run's own, the default."
    )
    flags.DEFINE_list("splits", [], "Splits to evaluate; all validation splits of the task by default.")
    flags.DEFINE_bool("watch", False, "Evaluate each checkpoint of the run as it comes, until its last.")
    flags.DEFINE_float("watch_seconds", 10.0, "Time between two looks.", lower_bound=0.1)


if __name__ == "__main__":
    define_flags()
    cli.run(main)
