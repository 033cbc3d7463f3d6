"""Reads the msgpack files of `flax.training.checkpoints` without reading their arrays.

`index` walks over a file once and notes where each array lies, so that an array is read when it is wanted.
Neither the optimizer's moments nor sizes that a file merely claims cost any memory.

The msgpack library reads all but the arrays, which it would copy. Those are extensions of msgpack: 1 is an
array, as the list [shape, name of the dtype, bytes]; 2 a complex number; 3 a NumPy scalar, like an array.
Flax divides an array above 1 GiB into a map of chunks,
{"__msgpack_chunked_array__": True, "shape": {"0": ...}, "chunks": {"0": array, ...}}.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import jax.numpy as jnp
import msgpack
import numpy as np
from msgpack import Unpacker

from fnet_jax.bridge.name_tables import FileTensor
from fnet_jax.core.errors import UserError

Tree = dict[str, Any]  # of `Tree`, `FileTensor` and scalars

_CHUNKED = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
# Beyond what any checkpoint of Flax has.
_MAX_DEPTH, _MAX_NAME, _MAX_ITEMS, _MAX_NDIM = 32, 1000, 200_000, 8

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_INTS = tuple(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = {name: jnp.dtype(name) for name in (*_FLOATS, *_INTS, "bool")}

# Type bytes of the format, https://github.com/msgpack/msgpack/blob/master/spec.md; where a size follows, the
# number of its bytes.
_MAPS, _LISTS = {*range(0x80, 0x90), 0xDE, 0xDF}, {*range(0x90, 0xA0), 0xDC, 0xDD}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4, **dict.fromkeys(range(0xD4, 0xD9), 0)}
# More than any number or name takes. Whatever may be larger is read by its header alone.
_WINDOW = _MAX_NAME + 5


def index(path: str) -> Tree:
    """What a file holds: maps as dicts, arrays as `FileTensor`, numbers and texts as they are.

    Raises:
        UserError: if Flax did not write the file, or it is damaged or cut off; saying where.
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
        self.items += 1
        if self.items > _MAX_ITEMS:
            raise _Fault(f"has more than {_MAX_ITEMS:,} entries")
        if depth > _MAX_DEPTH:
            raise _Fault(f"is nested more than {_MAX_DEPTH} deep")
        kind = self._window(1)[0]
        if kind in _EXTENSIONS:
            return self._extension()
        if kind in _MAPS or kind in _LISTS:
            return self._container(kind in _MAPS, depth)
        value = self._unpack(Unpacker.unpack)
        if isinstance(value, bytes):
            raise _Fault("has raw bytes outside any array")
        return value

    def _window(self, required: int) -> bytes:
        """The next bytes, up to `_WINDOW`, without moving behind them.

        Raises:
            _Fault: if the file has fewer than `required`.
        """
        if required > self.size - self.position:
            raise _Fault(f"should go on for {required:,} bytes, but is cut off")
        self.file.seek(self.position)
        return self.file.read(_WINDOW)

    def _unpack(self, read: Callable[[Unpacker], Any]) -> Any:
        """What `read` takes from an Unpacker at the position, which moves; None if the types do not fit."""
        window = self._window(1)
        unpacker = Unpacker(max_buffer_size=_WINDOW, max_array_len=_MAX_NDIM, max_map_len=0, max_ext_len=0)
        unpacker.feed(window)
        try:
            value = read(unpacker)
        except msgpack.FormatError:
            raise _Fault(f"has the byte {window[unpacker.tell()]:#x}, which msgpack does not know") from None
        except UnicodeDecodeError:
            raise _Fault("has a name that is no UTF-8") from None
        except msgpack.OutOfData:
            is_long = len(window) == _WINDOW
            raise _Fault(f"has a name of over {_MAX_NAME:,} bytes" if is_long else "is cut off") from None
        except ValueError:
            return None
        self.position += unpacker.tell()
        return value

    def _container(self, is_map: bool, depth: int) -> Any:
        count = self._unpack(Unpacker.read_map_header if is_map else Unpacker.read_array_header)
        self._window(count)  # an entry takes a byte or more
        tree: Tree = {}
        for number in range(count):
            name = self._unpack(Unpacker.unpack) if is_map else str(number)
            if not isinstance(name, str) or not name or "/" in name:
                raise _Fault(f"has an entry without a usable name, {name!r}")
            if name in tree:
                raise _Fault(f"has {name!r} twice")
            tree[name] = self.item(depth + 1)
        return self._joined(tree) if _CHUNKED in tree else tree

    def _sized(self, widths: Mapping[int, int]) -> int:
        """The size behind a type byte; -1 if `widths` has no such type."""
        window = self._window(1)
        width = widths.get(window[0], -1)
        if width < 0:
            return -1
        self._window(1 + width)
        self.position += 1 + width
        return int.from_bytes(window[1 : 1 + width]) if width else 1 << (window[0] - 0xD4)

    def _extension(self) -> FileTensor | None:
        size = self._sized(_EXTENSIONS)
        code = self._window(1)[0]
        self.position += 1
        self._window(size)
        end = self.position + size
        if code not in (_ARRAY, _COMPLEX, _SCALAR):
            raise _Fault(f"has an extension of type {code}; Flax writes {_ARRAY}, {_COMPLEX} and {_SCALAR}")
        array = None if code == _COMPLEX else self._array()
        if array is not None and self.position != end:
            raise _Fault("has an array that does not fill its place")
        self.position = end
        return array

    def _array(self) -> FileTensor:
        if self._unpack(Unpacker.read_array_header) != 3:
            raise _Fault("has an array without shape, dtype and bytes")
        shape, name = self._unpack(lambda unpacker: (unpacker.unpack(), unpacker.unpack())) or (None, None)
        if not isinstance(shape, list):
            raise _Fault(f"has an array whose shape is no list of up to {_MAX_NDIM} sizes")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise _Fault("has an array with a size that is no number")
        if isinstance(name, bytes):
            name = name.decode(errors="replace")
        if not isinstance(name, str) or name not in _DTYPES:
            raise _Fault(f"has an array of dtype {name!r}; valid: {', '.join(_DTYPES)}")
        dtype, needed = _DTYPES[name], math.prod(shape) * _DTYPES[name].itemsize
        if self._sized(_BYTES) != needed:
            raise _Fault(f"has an array of shape {shape}, dtype {name}, without its {needed:,} bytes")
        self._window(needed)
        read = functools.partial(_read, self.path, self.position, tuple(shape), dtype)
        self.position += needed
        return FileTensor(tuple(shape), name, read)

    def _joined(self, tree: Tree) -> FileTensor:
        """The array that is stored in chunks."""
        try:
            shape, chunks = (
                [tree[name][str(i)] for i in range(len(tree[name]))] for name in ("shape", "chunks")
            )
            (dtype,) = {chunk.dtype for chunk in chunks}
            (ndim,) = {len(chunk.shape) for chunk in chunks}
            is_sound = ndim == 1 and sum(chunk.shape[0] for chunk in chunks) == math.prod(shape)
        except (KeyError, TypeError, ValueError, AttributeError):
            is_sound = False
        if not is_sound or not all(type(size) is int and size >= 0 for size in shape):
            raise _Fault("has an array in pieces that do not make up its shape")

        def read() -> np.ndarray:
            return np.concatenate([chunk.read() for chunk in chunks]).reshape(shape)

        return FileTensor(tuple(shape), dtype, read)


def _read(path: str, start: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    count = math.prod(shape)
    array = np.fromfile(path, dtype, count, offset=start)
    if len(array) < count:
        raise UserError(f"{path} became shorter while it was read; start again")
    return array.reshape(shape)
