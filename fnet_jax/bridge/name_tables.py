"""Tables of names: which tensors of another project a parameter of ours is made of, and both ways through."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from fnet_jax.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class FileTensor:
    """A tensor in a file, not read yet.

    Attributes:
        shape: as the file declares it; what is declared has been seen to lie in the file.
        dtype: as the file names it.
        read: reads it.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class TensorMapping:
    """A parameter of ours, and the tensors of theirs that it is made of.

    Attributes:
        path: ours.
        shape: ours.
        names: theirs; for a parameter with a leading axis for the layers, one of each layer.
        their_shape: of each tensor.
        transposed: whether theirs lie the other way round.
    """

    path: str
    shape: tuple[int, ...]
    names: tuple[str, ...]
    their_shape: tuple[int, ...]
    transposed: bool = False


def gather(
    source: str, table: Sequence[TensorMapping], tensors: Mapping[str, FileTensor]
) -> dict[str, np.ndarray]:
    """Reads the tensors into our layout, in float32. Besides the result, one tensor is in memory.

    Args:
        source: where they come from, for the message.
        table: a row for each parameter.
        tensors: by their names.

    Returns:
        Path -> array.

    Raises:
        UserError: naming every tensor that is missing, surplus or of another shape.
    """
    wanted = {name: row.their_shape for row in table for name in row.names}
    faults = [
        *(f"{name} is missing" for name in wanted if name not in tensors),
        *(f"{name} is surplus" for name in tensors if name not in wanted),
        *(
            f"{name} has shape {list(tensors[name].shape)} and not {list(shape)}"
            for name, shape in wanted.items()
            if name in tensors and tensors[name].shape != shape
        ),
    ]
    if faults:
        raise UserError(f"{source} does not hold the model that its sizes tell: {'; '.join(faults)}")
    return {row.path: _stacked(row, tensors) for row in _with_progress(table, "read")}


def scatter(table: Sequence[TensorMapping], arrays: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The inverse of `gather`: name and tensor, contiguous."""
    for row in _with_progress(table, "rearrange"):
        parts = np.asarray(arrays[row.path]).reshape(len(row.names), *_our_shape(row))
        for name, part in zip(row.names, parts, strict=True):
            part = part.T if row.transposed else part.reshape(row.their_shape)
            yield name, np.ascontiguousarray(part)


def _with_progress(table: Sequence[TensorMapping], text: str) -> Iterable[TensorMapping]:
    """Shows a bar on a terminal when it takes longer than a second."""
    return tqdm(table, desc=text, unit="parameter", leave=False, disable=None, delay=1)


def _stacked(row: TensorMapping, tensors: Mapping[str, FileTensor]) -> np.ndarray:
    parts = np.empty((len(row.names), *_our_shape(row)), np.float32)
    for part, name in zip(parts, row.names, strict=True):
        tensor = tensors[name].read()
        part[...] = tensor.T if row.transposed else tensor.reshape(part.shape)
    return parts.reshape(row.shape)


def _our_shape(row: TensorMapping) -> tuple[int, ...]:
    """Of what one tensor of theirs becomes."""
    return row.their_shape[::-1] if row.transposed else row.their_shape
