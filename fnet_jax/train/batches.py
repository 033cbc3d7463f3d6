"""Batches of a run: made by each process for its own rows, together one global array on the devices."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.core.mesh import batch_sharding
from fnet_jax.data.pipeline import EXAMPLE_IDS, Batches, WithExampleIds, iterate
from fnet_jax.train.logs import example_ids
from fnet_jax.train.setup import Setup


class EvalBatches(NamedTuple):
    """A split for evaluation: each example once, in order; the last batch is padded.

    Attributes:
        batches: fields as in `core.batch`; this process's rows, or global arrays on the devices.
        num_batches: how many they are.
        num_examples: how many examples they hold on all hosts together, without the padding.
    """

    batches: Iterator[Batch]
    num_batches: int
    num_examples: int


def train_batches(setup: Setup, start_step: int) -> Iterator[Batch]:
    """The training batches from `start_step` to the last step, on the devices ahead of time."""
    train, data = setup.config.train, setup.config.data
    batches = _local_batches(setup, "train", train.train_batch_size)
    if setup.config.log.example_ids:
        batches = WithExampleIds(batches)
    made = iterate(batches, start_step, train.num_train_steps, data.num_workers)
    put = put_batches(made, batch_sharding(setup.mesh), train.train_batch_size, data.prefetch)
    return example_ids.record(put, setup.workdir, start_step) if setup.config.log.example_ids else put


def eval_batches(setup: Setup, split: str) -> EvalBatches:
    """`host_eval_batches`, on the devices ahead of time."""
    found = host_eval_batches(setup, split)
    sharding, batch_size = batch_sharding(setup.mesh), setup.config.train.eval_batch_size
    on_devices = put_batches(found.batches, sharding, batch_size, setup.config.data.prefetch)
    return found._replace(batches=on_devices)


def host_eval_batches(setup: Setup, split: str) -> EvalBatches:
    """A split, or its first `train.max_num_eval_steps` batches where that is not 0."""
    train = setup.config.train
    batches = _local_batches(setup, split, train.eval_batch_size)
    num_batches = len(batches)
    if train.max_num_eval_steps:
        num_batches = min(num_batches, train.max_num_eval_steps)
    num_examples = min(num_batches * train.eval_batch_size, setup.dataset.num_examples(split))
    made = iterate(batches, 0, num_batches, setup.config.data.num_workers)
    return EvalBatches(made, num_batches, num_examples)


def _local_batches(setup: Setup, split: str, batch_size: int) -> Batches:
    rows = local_rows(batch_sharding(setup.mesh), batch_size)
    return setup.dataset.batches(split, batch_size=batch_size, rows=rows)


def put_batches(
    batches: Iterable[Batch], sharding: jax.sharding.Sharding, batch_size: int, ahead: int
) -> Iterator[Batch]:
    """Moves host batches to the devices, `ahead` of them before they are asked for.

    Each process gives its own rows; together they are the global batch. `EXAMPLE_IDS` stay on the host.
    """

    def put(name: str, value: Any) -> Any:
        return value if name == EXAMPLE_IDS else put_rows(value, sharding, batch_size)

    queue: list[Batch] = []
    for batch in batches:
        queue.append({name: put(name, value) for name, value in batch.items()})
        if len(queue) > ahead:
            yield queue.pop(0)
    yield from queue


def local_rows(sharding: jax.sharding.Sharding, num_rows: int) -> tuple[int, ...]:
    """The rows of an array [num_rows, ...] that the devices of this process hold, ascending.

    They need not be neighbours, and processes that a mesh axis of another kind connects hold the same ones.
    """
    held: set[int] = set()
    for index in sharding.addressable_devices_indices_map((num_rows,)).values():
        assert index is not None
        held.update(range(*index[0].indices(num_rows)))
    return tuple(sorted(held))


def put_rows(rows: np.ndarray, sharding: jax.sharding.Sharding, num_rows: int) -> jax.Array:
    """The array [num_rows, ...] of which each process gives its `local_rows`."""
    # With several processes JAX does not count this as the explicit transfer that it is.
    with jax.transfer_guard_host_to_device("allow"):
        return jax.make_array_from_process_local_data(sharding, rows, (num_rows, *rows.shape[1:]))
