"""Runs functions of a model over any number of examples, in batches of few shapes, on all local devices."""

import collections
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnet_jax.core.mesh import batch_sharding, create_mesh, param_shardings
from fnet_jax.inference.preprocessing import Features

Variables = Mapping[str, Any]

_AHEAD = 2  # batches that the devices have while the host makes the next one


class Forward(NamedTuple):
    """The function that a batch goes through on the devices.

    Attributes:
        name: for people; functions of the same name and `options` share a program.
        apply: (variables, fields with a leading B) -> any tree of arrays with a leading B; pure.
        options: values that `apply` was made with.
    """

    name: str
    apply: Callable[[Variables, Mapping[str, jax.Array]], Any]
    options: tuple[Hashable, ...] = ()


class Batcher:
    """Variables on the devices of this process, and the programs compiled for them.

    Every device holds all variables and works on its share of each batch. A program is compiled for each
    shape, which says so in one line on stderr. FNet mixes padding like any other token, so the length is
    always the model's own, and the number of examples alone is free. A stream is read in batches of
    `batch_size`, the last one filled up. Where all examples fit into one batch, it is the smallest power of
    two that holds them, so that one text does not wait for 31 copies of itself.

    Attributes:
        batch_size: B, a multiple of the number of devices.
        variables: on the devices.
        seconds_compiling: so far.
    """

    def __init__(self, variables: Variables, batch_size: int, devices: Sequence[jax.Device] | None = None):
        """Moves the variables, arrays of the host, straight to the devices; by default all local ones."""
        self._mesh = create_mesh(devices=jax.local_devices() if devices is None else devices)
        self.batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self.variables = {
            group: jax.device_put(tree, param_shardings(self._mesh, tree))
            for group, tree in variables.items()
        }
        self._programs: dict[Hashable, jax.stages.Compiled] = {}
        self.seconds_compiling = 0.0

    def run(self, forward: Forward, examples: Iterable[Features | None]) -> Iterator[Any]:
        """The outputs for each example, in order, without the leading B, as arrays of the host.

        Args:
            forward: the function.
            examples: are taken only some batches ahead, so they may be endless. Vectors of one field may
                differ in length, but for those of length L. A None comes back at once as None, which gives
                the caller a turn while there are no examples.
        """
        pending: collections.deque[tuple[int, Any]] = collections.deque()
        batch: list[Features] = []
        for example in examples:
            if example is None:
                yield None
                continue
            batch.append(example)
            if len(batch) == self.batch_size:
                pending.append((len(batch), self._start(forward, _stack(batch, self.batch_size))))
                batch = []
            if len(pending) > _AHEAD:
                yield from _unstack(*pending.popleft())
        if batch:
            size = self.batch_size if pending else self._size(len(batch))
            pending.append((len(batch), self._start(forward, _stack(batch, size))))
        while pending:
            yield from _unstack(*pending.popleft())

    def _size(self, count: int) -> int:
        size = self._mesh.size
        while size < count:
            size *= 2
        return min(size, self.batch_size)

    def _start(self, forward: Forward, batch: dict[str, np.ndarray]) -> Any:
        """Outputs that the devices may still be computing."""
        shapes = tuple((name, field.shape) for name, field in batch.items())
        key = (forward.name, forward.options, shapes)
        with jax.set_mesh(self._mesh):
            on_devices = jax.device_put(batch, batch_sharding(self._mesh))
            if key not in self._programs:
                self._programs[key] = self._compile(forward, on_devices)
            return self._programs[key](self.variables, on_devices)

    def _compile(self, forward: Forward, batch: Mapping[str, jax.Array]) -> jax.stages.Compiled:
        size, length = batch["input_ids"].shape
        start = time.perf_counter()
        compiled = jax.jit(forward.apply).lower(self.variables, batch).compile()
        took = time.perf_counter() - start
        self.seconds_compiling += took
        print(
            f"compiled {forward.name} for batches of {size} x {length} pieces on {self._mesh.size} "
            f"{self._mesh.devices.flat[0].platform} device{'s' * (self._mesh.size > 1)} in {took:.1f} s",
            file=sys.stderr,
        )
        return compiled


def _stack(examples: Sequence[Features], size: int) -> dict[str, np.ndarray]:
    """A batch; the last example fills it up. Shorter vectors get zeros, up to a power of two: few shapes."""
    examples = [*examples, *[examples[-1]] * (size - len(examples))]
    batch = {}
    for name in examples[0]:
        fields = [example[name] for example in examples]
        if len({field.shape for field in fields}) > 1 or name == "positions":
            longest = max(len(field) for field in fields)
            width = 1 << (longest - 1).bit_length()
            fields = [np.pad(field, (0, width - len(field))) for field in fields]
        batch[name] = np.stack(fields)
    return batch


def _unstack(count: int, outputs: Any) -> Iterator[Any]:
    arrays = jax.device_get(outputs)
    for number in range(count):
        yield jax.tree.map(lambda array, number=number: array[number], arrays)
