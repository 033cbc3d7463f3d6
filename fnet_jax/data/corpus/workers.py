"""The parts of a data set made by processes of this machine, with a progress bar."""

import concurrent.futures
import ctypes
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import SpawnContext
from typing import Any

from tqdm import tqdm

from fnet_jax.data.corpus.parts import WorkerConfig, make_part
from fnet_jax.data.corpus.shards import Shard

_SMALL_BYTES = 16 << 20  # done before other processes have started
_SPAWN: SpawnContext = multiprocessing.get_context("spawn")
_LOOK_EVERY = 0.5  # seconds


def num_cores() -> int:
    """Cores that this process may use; an array job may have fewer than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _ProgressBar:
    """A bar over bytes of the source, which several processes move.

    Attributes:
        records: i64[N], shared memory: how many records of each shard have been read.
        read: i64[N], shared memory: how many of its bytes.
    """

    def __init__(self, sizes: Sequence[int], done: int, visible: bool) -> None:
        """Takes the bytes of the N shards, and those of shards that were done before."""
        self.records: Any = _SPAWN.Array(ctypes.c_int64, len(sizes), lock=False)
        self.read: Any = _SPAWN.Array(ctypes.c_int64, len(sizes), lock=False)
        self._done = done
        self.bar = tqdm(
            total=done + sum(sizes),
            initial=done,
            desc="Tokenising",
            unit="B",
            unit_scale=True,
            disable=not visible,
            mininterval=_LOOK_EVERY if sys.stderr.isatty() else 60,  # seconds; a log wants few lines
        )

    def show(self, finished: int) -> None:
        """Brings the bar up to date."""
        said = f"{sum(self.records):,} documents, {finished} of {len(self.records)} parts"
        self.bar.set_postfix_str(said, refresh=False)
        self.bar.update(self._done + sum(self.read) - self.bar.n)


def make_parts(
    config: WorkerConfig, shards: Mapping[int, Shard], done: int, num_processes: int, progress: bool
) -> None:
    """Makes parts, in as many processes as are worth it.

    Args:
        config: common to all parts.
        shards: by the index of their part.
        done: bytes of the shards that earlier attempts have worked off, for the bar.
        num_processes: at most.
        progress: whether to show the bar.

    Raises:
        Exception: what a worker raised; BrokenProcessPool if one died.
    """
    if not shards:
        return
    sizes = [shard.size for shard in shards.values()]
    progress_bar = _ProgressBar(sizes, done, progress)
    num_processes = min(num_processes, len(shards))
    with progress_bar.bar:
        if num_processes <= 1 or sum(sizes) < _SMALL_BYTES:
            _make_here(config, shards, progress_bar)
        else:
            _make_in_processes(config, shards, progress_bar, num_processes)


def _make_here(config: WorkerConfig, shards: Mapping[int, Shard], bar: _ProgressBar) -> None:
    for finished, (index, shard) in enumerate(shards.items()):
        show = functools.partial(bar.show, finished)
        _make(config, bar.records, bar.read, finished, index, shard, show)
    bar.show(len(shards))


def _make_in_processes(
    config: WorkerConfig, shards: Mapping[int, Shard], bar: _ProgressBar, num_processes: int
) -> None:
    common = (config, bar.records, bar.read)
    with concurrent.futures.ProcessPoolExecutor(num_processes, _SPAWN, _start_worker, common) as pool:
        waiting: set[concurrent.futures.Future] = {
            pool.submit(_make_in_worker, place, index, shard)
            for place, (index, shard) in enumerate(shards.items())
        }
        try:
            while waiting:
                done, waiting = concurrent.futures.wait(
                    waiting, _LOOK_EVERY, concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    future.result()
                bar.show(len(shards) - len(waiting))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(
    config: WorkerConfig,
    records: Any,
    read: Any,
    place: int,
    index: int,
    shard: Shard,
    show: Callable[[], None] = lambda: None,
) -> None:
    def report(count: int, size: int) -> None:
        records[place] = count
        read[place] = min(size, shard.size)
        show()

    make_part(config, index, shard, report)
    read[place] = shard.size


_common: tuple[WorkerConfig, Any, Any]  # of a worker process: sent once, not with every shard


def _start_worker(*common: Any) -> None:
    global _common
    _common = common
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A worker whose parent was killed would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _make_in_worker(place: int, index: int, shard: Shard) -> None:
    _make(*_common, place, index, shard)
