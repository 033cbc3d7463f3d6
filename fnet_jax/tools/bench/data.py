"""The input pipeline alone: how fast batches come when nothing waits for anything else."""

import functools
import itertools
from collections.abc import Iterator

from absl import flags

from fnet_jax.data.pipeline import iterate
from fnet_jax.runtime import cli
from fnet_jax.tasks.open import open_dataset
from fnet_jax.tools.bench import plan as plans
from fnet_jax.tools.bench.plan import BenchPlan
from fnet_jax.tools.bench.timing import BenchCase, CaseSetting, TimedProgram, grid

READ_AHEAD = 16  # batches, more than a pipeline keeps ready
ENDLESS = 2**31 - 1


def plan() -> BenchPlan:
    """Batches of the training split, made by a thread of this process or by other processes."""
    config, workdir = plans.config(), cli.workdir()
    batches = flags.FLAGS.batches or [config.train.train_batch_size]
    workers = {_name(count): count for count in plans.numbers("workers", flags.FLAGS.workers, least=0)}
    dataset = functools.cache(lambda: open_dataset(config, workdir))

    def case(setting: CaseSetting, name: str) -> BenchCase:
        batch = int(setting["batch"])
        stream = functools.partial(dataset().batches, "train", batch_size=batch)
        return BenchCase(name, setting, lambda: _program(iterate(stream(), 0, ENDLESS, workers[name])), batch)

    title = f"Input pipeline, {config.task}, length {config.model.max_seq_length}"
    settings = grid({"batch": plans.numbers("batches", batches)})
    return BenchPlan(title, settings, list(workers), case, _name(0), "examples")


def _name(workers: int) -> str:
    """Of a case: "thread", "1 process", "4 processes"."""
    return f"{workers} process{'es' * (workers > 1)}" if workers else "thread"


def _program(iterator: Iterator[object]) -> TimedProgram:
    # While others had their turn the pipeline has filled its buffers; these batches would cost nothing.
    return TimedProgram(lambda calls: _take(iterator, calls), before=lambda: _take(iterator, READ_AHEAD))


def _take(iterator: Iterator[object], count: int) -> None:
    for _ in itertools.islice(iterator, count):
        pass
