"""Processes that stop at the same step, whichever of them was told to."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnet_jax.core.mesh import replicated
from fnet_jax.train.batches import put_rows


def stop_together(requested: Callable[[], int], mesh: Mesh) -> Callable[[], int]:
    """Makes all processes stop at the same step, for a signal that any one of them received.

    Each call of the result starts a reduction of one number per device and returns the outcome of the call
    before, which the devices have by then; so nothing waits for it. All processes must make the same calls.
    One process alone needs no reduction, and learns of its signal at once.

    Args:
        requested: gives the number of the signal that this process received, or 0.
        mesh: of all devices.

    Returns:
        A function like `requested` that gives the same number on all processes.
    """
    if jax.process_count() == 1:
        return requested
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    greatest = jax.jit(jnp.max, out_shardings=replicated(mesh))
    pending: list[jax.Array] = []

    def requested_anywhere() -> int:
        flags = np.full(jax.local_device_count(), requested(), np.int32)
        pending.append(greatest(put_rows(flags, rows, mesh.size)))
        return int(jax.device_get(pending.pop(0))) if len(pending) > 1 else 0

    return requested_anywhere
