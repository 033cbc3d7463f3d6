"""Evaluates the checkpoints of a run as they come, beside the trainer and without touching its files."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fnet_jax.core.config import Config
from fnet_jax.runtime import hosts
from fnet_jax.train.checkpoints.best import BestTracker
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.evaluate import CheckpointEvaluator
from fnet_jax.train.logs.results import read_results


def watch(
    config: Config,
    workdir: str,
    splits: Sequence[str] = (),
    seconds: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[dict[str, Any]]:
    """Yields the evaluation of each checkpoint, oldest first, each once; those in eval.jsonl are done.

    Ends after the last checkpoint of the run. A checkpoint that is damaged, or that the trainer deletes
    meanwhile, is passed over.

    Args:
        config: model and data.
        workdir: of the run; its checkpoints may be yet to come.
        splits: as in `CheckpointEvaluator.evaluate`.
        seconds: between two looks.
        sleep: waits so many seconds.
    """
    rows = read_results(workdir)
    done = set(hosts.broadcast([row["step"] for row in rows if row.get("task", config.task) == config.task]))
    evaluator = None
    while True:
        with Checkpointer(workdir, read_only=True) as checkpointer:
            steps = hosts.broadcast(checkpointer.steps())
            best = BestTracker(config.train, hosts.broadcast(checkpointer.best()))
        step = next((step for step in steps if step not in done), None)
        if step is None:
            if steps and (steps[-1] >= config.train.num_train_steps or best.has_stopped_rising(steps[-1])):
                return
            sleep(seconds)
            continue
        done.add(step)
        if fault := checkpointer.fault(step):
            hosts.print_once(f"checkpoint {checkpointer.folder(step)} is damaged ({fault}) and left out")
            continue
        evaluator = evaluator or CheckpointEvaluator(config, workdir)
        try:
            yield evaluator.evaluate(step, splits)
        except (FileNotFoundError, ValueError, KeyError):
            with Checkpointer(workdir, read_only=True) as checkpointer:
                if step in checkpointer.steps():
                    raise
            hosts.print_once(f"checkpoint {step} was deleted before it could be evaluated")
