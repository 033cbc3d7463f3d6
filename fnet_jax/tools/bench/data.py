"""The input pipeline alone: how fast batches come when nothing waits for anything else."""

import functools
import itertools
from collections.abc import Iterator, Sequence

from fnet_jax.core.config import Config
from fnet_jax.data.pipeline import iterate
from fnet_jax.tasks.interface import Dataset
from fnet_jax.tools.bench.timing import Case, Program, Setting

READ_AHEAD = 16  # batches, more than a pipeline keeps ready
ENDLESS = 2**31 - 1


def cases(
    config: Config, dataset: Dataset, settings: Sequence[Setting], workers: Sequence[int]
) -> list[Case]:
    """Batches of the training split, made by a thread of this process or by others.

    Args:
        config: of the run.
        dataset: its data.
        settings: with batch B.
        workers: numbers of processes, as `data.num_workers`.
    """
    return [
        Case(name(count), setting, functools.partial(_make, config, dataset, setting, count), _batch(setting))
        for setting in settings
        for count in workers
    ]


def name(workers: int) -> str:
    """Of a case: "thread", "1 process", "4 processes"."""
    return f"{workers} process{'es' * (workers > 1)}" if workers else "thread"


def _batch(setting: Setting) -> int:
    return int(setting["batch"])


def _make(config: Config, dataset: Dataset, setting: Setting, workers: int) -> Program:
    batches = dataset.batches("train", batch_size=_batch(setting))
    iterator = iterate(batches, 0, ENDLESS, workers)
    # While others had their turn the pipeline has filled its buffers; these batches would cost nothing.
    return Program(lambda calls: _take(iterator, calls), before=lambda: _take(iterator, READ_AHEAD))


def _take(iterator: Iterator[object], count: int) -> None:
    for _ in itertools.islice(iterator, count):
        pass
