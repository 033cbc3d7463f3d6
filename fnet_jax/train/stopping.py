"""Stopping on SIGINT and SIGTERM at a step, with everything saved, in all processes at the same one."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fnet_jax.core.mesh import replicated
from fnet_jax.train.batches import put_rows


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turns SIGINT and SIGTERM into a wish to stop at the next step; a second one stops at once.

    Yields:
        A function that gives the number of the signal received, 0 while there is none.
    """
    received = 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal received
        received = number
        signal.signal(number, previous[signal.Signals(number)])
        print(f"\n{signal.Signals(number).name}: saving and stopping; once more stops at once", flush=True)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def agreed(stopped_by: Callable[[], int], mesh: Mesh) -> Callable[[], int]:
    """Makes the processes stop together: a signal that one of them received counts for all, one call later.

    Each call starts a reduction of one number per device, and gives the result of the call before, which the
    devices have by then; so it waits for nothing that the caller would not wait for anyway. All processes
    make the same calls. One process alone needs none of it.

    Args:
        stopped_by: the number of the signal that this process received, or 0.
        mesh: of all devices.

    Returns:
        A function like `stopped_by`, whose results are equal on all processes.
    """
    if jax.process_count() == 1:
        return stopped_by
    rows = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    greatest = jax.jit(jnp.max, out_shardings=replicated(mesh))
    pending: list[jax.Array] = []

    def everywhere() -> int:
        flags = np.full(jax.local_device_count(), stopped_by(), np.int32)
        pending.append(greatest(put_rows(flags, rows, mesh.size)))
        return int(jax.device_get(pending.pop(0))) if len(pending) > 1 else 0

    return everywhere
