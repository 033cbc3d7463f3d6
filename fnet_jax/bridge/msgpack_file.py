"""Reads the msgpack files of `flax.training.checkpoints` without reading their arrays.

`index` walks over a file once and notes where each array lies; `Stored.read` then takes one at a time. So
neither the optimizer's moments nor sizes that a file merely claims cost any memory. The msgpack library could
not do it: it hands out copies, and does not say where they were.

The format (https://github.com/msgpack/msgpack/blob/master/spec.md): a byte that tells the type, a size, the
content. Flax adds extension 1, an array, as the list [shape, name of the dtype, bytes]; 2, a complex number;
and 3, a NumPy scalar, as an array. It cuts an array above 1 GiB up into a map of its pieces,
{"__msgpack_chunked_array__": True, "shape": {"0": ...}, "chunks": {"0": array, ...}}.
"""

import dataclasses
import math
import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from fnet_jax.core.errors import UserError

Tree = dict[str, Any]  # of `Tree`, `Stored` and scalars

_CHUNKED = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
# Beyond what any checkpoint of Flax has.
_MAX_DEPTH, _MAX_NAME, _MAX_ITEMS, _MAX_NDIM = 32, 1000, 200_000, 8

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTS = tuple(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = {name: jnp.dtype(name) for name in (*_FLOATS, *_INTS, "bool")}

# Type byte -> (kind, format of the size or number that follows).
_KINDS = {
    **dict(zip(range(0xC4, 0xC7), [("bin", ">B"), ("bin", ">H"), ("bin", ">I")], strict=True)),
    **dict(zip(range(0xC7, 0xCA), [("ext", ">B"), ("ext", ">H"), ("ext", ">I")], strict=True)),
    **{0xCA + i: ("number", ">" + code) for i, code in enumerate("fdBHIQbhiq")},
    **dict(zip(range(0xD9, 0xDC), [("str", ">B"), ("str", ">H"), ("str", ">I")], strict=True)),
    **dict(zip(range(0xDC, 0xDE), [("list", ">H"), ("list", ">I")], strict=True)),
    **dict(zip(range(0xDE, 0xE0), [("map", ">H"), ("map", ">I")], strict=True)),
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


@dataclasses.dataclass(frozen=True)
class Stored:
    """An array in a file.

    Attributes:
        path: of the file.
        shape: of the array.
        dtype: of its elements.
        offsets: where its pieces begin, one after the other in the order of memory.
        sizes: bytes of each piece.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def read(self) -> np.ndarray:
        """The array; takes as much memory as it has bytes."""
        flat = np.empty(math.prod(self.shape), self.dtype)
        view, done = flat.view(np.uint8).data, 0
        with open(self.path, "rb") as file:
            for offset, size in zip(self.offsets, self.sizes, strict=True):
                file.seek(offset)
                if file.readinto(view[done : done + size]) != size:
                    raise UserError(f"{self.path} became shorter while it was read; start again")
                done += size
        return flat.reshape(self.shape)


def index(path: str) -> Tree:
    """What a file holds: maps as dicts, arrays as `Stored`, numbers and texts as they are.

    Raises:
        UserError: if the file is none that Flax wrote, is damaged or cut off; saying where.
    """
    with open(path, "rb") as file:
        walk = _Walk(path, file)
        try:
            tree = walk.item(0)
            if not isinstance(tree, dict):
                raise _Fault("turns out to hold no tree of parameters")
            if walk.position < walk.size:
                raise _Fault(f"goes on for {walk.size - walk.position:,} bytes after its end")
        except _Fault as fault:
            raise UserError(
                f"{path} is no sound Flax checkpoint: at byte {walk.position:,} of {walk.size:,} it {fault}; "
                "give a file as flax.training.checkpoints writes it"
            ) from None
    return tree


def flat(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path with slashes, leaf) of each leaf."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


class _Fault(Exception):
    """What is wrong, as the end of a sentence about the file."""


class _Walk:
    """One pass over a file; nothing is read before it is known to be there."""

    def __init__(self, path: str, file: BinaryIO):
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size
        self.position = self.items = 0

    def item(self, depth: int) -> Any:
        """The item at the position, which moves behind it."""
        kind, value = self._head()
        self.items += 1
        if self.items > _MAX_ITEMS:
            raise _Fault(f"has more than {_MAX_ITEMS:,} entries")
        if depth > _MAX_DEPTH:
            raise _Fault(f"is nested more than {_MAX_DEPTH} deep")
        if kind in ("map", "list"):
            return self._container(kind, value, depth)
        if kind == "str":
            return self._text(value)
        if kind == "ext":
            return self._extension(value)
        if kind == "bin":
            raise _Fault("has raw bytes outside any array")
        return value

    def _head(self) -> tuple[str, Any]:
        """The kind of the next item, and its size or, if it has none, its value."""
        (tag,) = self._take(1)
        if tag <= 0x7F or tag >= 0xE0:
            return "number", tag if tag <= 0x7F else tag - 0x100
        if tag <= 0xBF:
            kinds = {0x80: ("map", tag & 15), 0x90: ("list", tag & 15)}
            return kinds.get(tag & 0xF0, ("str", tag & 31))
        if tag in _CONSTANTS:
            return "constant", _CONSTANTS[tag]
        if 0xD4 <= tag <= 0xD8:
            return "ext", 1 << (tag - 0xD4)
        if tag not in _KINDS:
            raise _Fault(f"has the byte {tag:#x}, which msgpack does not know")
        kind, code = _KINDS[tag]
        return kind, struct.unpack(code, self._take(struct.calcsize(code)))[0]

    def _take(self, count: int) -> bytes:
        self._require(count)
        self.position += count
        return self.file.read(count)

    def _require(self, count: int) -> None:
        if count > self.size - self.position:
            raise _Fault(f"should go on for {count:,} bytes, but is cut off")

    def _text(self, size: int) -> str:
        if size > _MAX_NAME:
            raise _Fault(f"has a name of {size:,} bytes")
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            raise _Fault("has a name that is no UTF-8") from None

    def _name(self) -> str:
        kind, size = self._head()
        name = self._text(size) if kind == "str" else ""
        if not name or "/" in name:
            raise _Fault(f"has an entry without a usable name, {name!r}")
        return name

    def _container(self, kind: str, count: int, depth: int) -> Any:
        self._require(count)  # an entry takes a byte or more
        tree: Tree = {}
        for number in range(count):
            name = self._name() if kind == "map" else str(number)
            if name in tree:
                raise _Fault(f"has {name!r} twice")
            tree[name] = self.item(depth + 1)
        return self._joined(tree) if _CHUNKED in tree else tree

    def _extension(self, size: int) -> Any:
        (code,) = struct.unpack(">b", self._take(1))
        self._require(size)
        end = self.position + size
        if code in (_ARRAY, _SCALAR):
            stored = self._array()
        elif code == _COMPLEX:
            stored, self.position = None, end
            self.file.seek(end)
        else:
            raise _Fault(f"has an extension of type {code}; Flax writes {_ARRAY}, {_COMPLEX} and {_SCALAR}")
        if self.position != end:
            raise _Fault("has an array that does not fill its place")
        return stored

    def _array(self) -> Stored:
        if self._head() != ("list", 3):
            raise _Fault("has an array without shape, dtype and bytes")
        kind, ndim = self._head()
        if kind != "list" or ndim > _MAX_NDIM:
            raise _Fault(f"has an array whose shape is no list of up to {_MAX_NDIM} sizes")
        shape = tuple(self._number() for _ in range(ndim))
        dtype = self._dtype()
        kind, size = self._head()
        needed = math.prod(shape) * dtype.itemsize
        if kind != "bin" or size != needed:
            raise _Fault(f"has an array of shape {list(shape)}, dtype {dtype}, without its {needed:,} bytes")
        self._require(size)
        stored = Stored(self.path, shape, dtype, (self.position,), (size,))
        self.position += size
        self.file.seek(self.position)
        return stored

    def _number(self) -> int:
        kind, value = self._head()
        if kind != "number" or not isinstance(value, int) or value < 0:
            raise _Fault("has an array with a size that is no number")
        return value

    def _dtype(self) -> np.dtype:
        kind, size = self._head()
        name = self._text(size) if kind in ("str", "bin") else ""
        if name not in _DTYPES:
            raise _Fault(f"has an array of dtype {name!r}; valid: {', '.join(_DTYPES)}")
        return _DTYPES[name]

    def _joined(self, tree: Tree) -> Stored:
        """The array that is stored in pieces."""
        sizes, pieces = (
            [part[str(i)] for i in range(len(part)) if str(i) in part] if isinstance(part, dict) else []
            for part in (tree.get("shape"), tree.get("chunks"))
        )
        sound = all(isinstance(size, int) and size >= 0 for size in sizes) and bool(pieces)
        sound = sound and all(isinstance(piece, Stored) and len(piece.shape) == 1 for piece in pieces)
        if not sound or sum(piece.shape[0] for piece in pieces) != math.prod(sizes):
            raise _Fault("has an array in pieces that do not make up its shape")
        if len({piece.dtype for piece in pieces}) > 1:
            raise _Fault("has an array in pieces of different dtypes")
        return Stored(
            self.path,
            tuple(sizes),
            pieces[0].dtype,
            tuple(offset for piece in pieces for offset in piece.offsets),
            tuple(size for piece in pieces for size in piece.sizes),
        )
