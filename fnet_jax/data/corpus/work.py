"""Parts made by the processes of one machine, with a progress bar."""

import concurrent.futures
import ctypes
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnContext
from typing import Any

from tqdm import tqdm

from fnet_jax.data.corpus.parts import Job, make_part
from fnet_jax.data.corpus.shards import Shard

_SMALL_BYTES = 16 << 20  # done before other processes have started
_SPAWN: SpawnContext = multiprocessing.get_context("spawn")
_LOOK_EVERY = 0.5  # seconds


def num_cores() -> int:
    """Cores that this process may use; fewer than the machine has in many an array job."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """Records and bytes of each part that have been read, shared between processes, and their bar."""

    def __init__(self, sizes: Sequence[int], done: int, progress: bool) -> None:
        """Takes the bytes of the parts to be made, and of those that are there already."""
        self.sizes = sizes
        self.records: Any = _SPAWN.Array(ctypes.c_int64, len(sizes), lock=False)
        self.read: Any = _SPAWN.Array(ctypes.c_int64, len(sizes), lock=False)
        self.done = done
        self.bar = tqdm(
            total=done + sum(sizes),
            initial=done,
            desc="Tokenising",
            unit="B",
            unit_scale=True,
            disable=not progress,
            mininterval=_LOOK_EVERY if sys.stderr.isatty() else 60,  # seconds; a log wants few lines
        )

    def show(self, finished: int) -> None:
        """Brings the bar up to date."""
        self.bar.set_postfix_str(
            f"{sum(self.records):,} documents, {finished} of {len(self.sizes)} parts", refresh=False
        )
        self.bar.update(self.done + sum(self.read) - self.bar.n)


def make_parts(job: Job, shards: dict[int, Shard], done: int, num_processes: int, progress: bool) -> None:
    """Makes parts, in as many processes as are worth it.

    Args:
        job: what all parts have in common.
        shards: by the index of their part.
        done: bytes of the source that earlier attempts have worked off, for the bar.
        num_processes: at most.
        progress: whether to show the bar.

    Raises:
        Exception: what a worker raised; BrokenProcessPool if one died.
    """
    if not shards:
        return
    state = _Progress([shard.size for shard in shards.values()], done, progress)
    num_processes = min(num_processes, len(shards))
    with state.bar:
        if num_processes <= 1 or sum(state.sizes) < _SMALL_BYTES:
            _make_here(job, shards, state)
        else:
            _make_in_processes(job, shards, state, num_processes)


def _make_here(job: Job, shards: dict[int, Shard], state: _Progress) -> None:
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked > _LOOK_EVERY:
            state.show(finished)
            looked = time.monotonic()

    for finished, (index, shard) in enumerate(shards.items()):
        _make(job, state.records, state.read, finished, index, shard, look)
        state.show(finished + 1)


def _make_in_processes(job: Job, shards: dict[int, Shard], state: _Progress, num_processes: int) -> None:
    common = (job, state.records, state.read)
    with concurrent.futures.ProcessPoolExecutor(num_processes, _SPAWN, _start_worker, common) as pool:
        waiting: set[concurrent.futures.Future] = {
            pool.submit(_make_with_common, place, index, shard)
            for place, (index, shard) in enumerate(shards.items())
        }
        try:
            while waiting:
                done, waiting = concurrent.futures.wait(
                    waiting, _LOOK_EVERY, concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    future.result()
                state.show(len(shards) - len(waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(
    job: Job, records: Any, read: Any, place: int, index: int, shard: Shard, look: Callable[[], None]
) -> None:
    def report(count: int, size: int) -> None:
        records[place] = count
        read[place] = min(size, shard.size)
        look()

    make_part(job, index, shard, report)
    read[place] = shard.size


_common: tuple[Job, Any, Any]  # of a worker process: sent once, not with every shard


def _start_worker(*common: Any) -> None:
    global _common
    _common = common
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_with_common(place: int, index: int, shard: Shard) -> None:
    _make(*_common, place, index, shard, look=lambda: None)
