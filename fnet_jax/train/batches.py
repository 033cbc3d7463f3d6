"""Batches of this process, and how they become global arrays on the devices."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.data.pipeline import EXAMPLE_IDS


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
