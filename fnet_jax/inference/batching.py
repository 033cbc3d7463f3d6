"""Runs functions of a model over any number of examples, in batches of few shapes, on all devices here."""

import collections
import itertools
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from fnet_jax.core.mesh import batch_sharding, create_mesh, param_shardings

# Fields of one example. Vectors of one field may differ in length, but for those of length L.
Row = Mapping[str, np.ndarray]
Variables = Mapping[str, Any]

_AHEAD = 2  # batches that the devices have while the host makes the next one
T = TypeVar("T")


class Function(NamedTuple):
    """What a batch goes through on the devices.

    Attributes:
        name: for people; with `options` it tells functions apart that do different things.
        apply: (variables, fields with a leading B) -> any tree of arrays with a leading B; pure.
        options: values that `apply` was made with.
    """

    name: str
    apply: Callable[[Variables, Mapping[str, jax.Array]], Any]
    options: tuple[Hashable, ...] = ()


class Runner:
    """Variables on the devices of this process, and the programs compiled for them.

    Every device holds all variables and works on its share of each batch. A program is compiled for each
    shape, which says so in one line on stderr. FNet mixes padding like any other piece, so the length is
    always the model's own; the number of examples is what is left to choose. A stream is worked off in
    batches of `batch_size`, the last one filled up. Where all examples fit into one batch, it is the
    smallest power of two that holds them: one text should not wait for 31 copies of itself.

    Attributes:
        batch_size: B, a multiple of the number of devices.
        seconds_compiling: so far.
    """

    def __init__(self, variables: Variables, batch_size: int, devices: Sequence[jax.Device] | None = None):
        """Moves the variables, arrays of the host, straight to the devices; by default all local ones."""
        self._mesh = create_mesh(devices=jax.local_devices() if devices is None else devices)
        self.batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._variables = {
            group: jax.device_put(tree, param_shardings(self._mesh, tree))
            for group, tree in variables.items()
        }
        self._programs: dict[Hashable, jax.stages.Compiled] = {}
        self.seconds_compiling = 0.0

    def run(self, function: Function, rows: Iterable[Row | None]) -> Iterator[Any]:
        """The function's outputs for each row, in order, without the leading B; arrays of the host.

        Rows are asked for only some batches ahead, so they may be endless. A None among them comes back at
        once as None, so that whoever waits for outputs has a turn although there are no rows.
        """
        pending: collections.deque[tuple[int, Any]] = collections.deque()
        batch: list[Row] = []
        for row in rows:
            if row is None:
                yield None
                continue
            batch.append(row)
            if len(batch) == self.batch_size:
                pending.append((len(batch), self._start(function, _stack(batch, self.batch_size))))
                batch = []
            if len(pending) > _AHEAD:
                yield from _unstack(*pending.popleft())
        if batch:
            size = self.batch_size if pending else self._size(len(batch))
            pending.append((len(batch), self._start(function, _stack(batch, size))))
        while pending:
            yield from _unstack(*pending.popleft())

    def _size(self, count: int) -> int:
        size = self._mesh.size
        while size < count:
            size *= 2
        return min(size, self.batch_size)

    def _start(self, function: Function, batch: dict[str, np.ndarray]) -> Any:
        """Outputs that may still be in the making."""
        shapes = tuple((name, field.shape) for name, field in batch.items())
        key = (function.name, function.options, shapes)
        with jax.set_mesh(self._mesh):
            on_devices = jax.device_put(batch, batch_sharding(self._mesh))
            if key not in self._programs:
                self._programs[key] = self._compile(function, on_devices)
            return self._programs[key](self._variables, on_devices)

    def _compile(self, function: Function, batch: Mapping[str, jax.Array]) -> jax.stages.Compiled:
        size, length = batch["input_ids"].shape
        start = time.perf_counter()
        compiled = jax.jit(function.apply).lower(self._variables, batch).compile()
        took = time.perf_counter() - start
        self.seconds_compiling += took
        print(
            f"compiled {function.name} for batches of {size} x {length} pieces on {self._mesh.size} "
            f"{self._mesh.devices.flat[0].platform} device{'s' * (self._mesh.size > 1)} in {took:.1f} s",
            file=sys.stderr,
        )
        return compiled


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Up to `size` neighbours at a time."""
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _stack(rows: Sequence[Row], size: int) -> dict[str, np.ndarray]:
    """A batch; the last row fills it up. Shorter vectors get zeros, up to a power of two: few shapes."""
    rows = [*rows, *[rows[-1]] * (size - len(rows))]
    batch = {}
    for name in rows[0]:
        fields = [row[name] for row in rows]
        if len({field.shape for field in fields}) > 1 or name == "positions":
            longest = max(len(field) for field in fields)
            width = 1 << (longest - 1).bit_length()
            fields = [np.pad(field, (0, width - len(field))) for field in fields]
        batch[name] = np.stack(fields)
    return batch


def _unstack(count: int, outputs: Any) -> Iterator[Any]:
    arrays = jax.device_get(outputs)
    for row in range(count):
        yield jax.tree.map(lambda array, row=row: array[row], arrays)
