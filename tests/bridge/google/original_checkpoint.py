"""Writes checkpoint files in the layout of the original, from the msgpack specification alone.

An array is extension type 1, and holds the msgpack list [shape, name of the dtype, bytes]; a NumPy scalar is
type 3, with the same inside. An array above `chunk` bytes is cut up into a map of its pieces,
{"__msgpack_chunked_array__": True, "shape": {"0": ...}, "chunks": {"0": piece, ...}}.
"""

import struct

import numpy as np


def optimizer_tree(params, step=998_000, moments=None):
    """What `flax.optim.Adam` left: parameters, and two moments for each of them.

    Args:
        params: nested dict of arrays.
        step: of training.
        moments: makes (mean, square) of a parameter; zeros by default.
    """

    def states(tree):
        if isinstance(tree, dict):
            return {name: states(value) for name, value in tree.items()}
        mean, square = moments(tree) if moments else (np.zeros_like(tree), np.zeros_like(tree))
        return {"grad_ema": mean, "grad_sq_ema": square}

    return {
        "state": {"param_states": states(params), "step": np.asarray(step, np.int32)},
        "target": params,
    }


def write(path, tree, chunk=2**30):
    """Writes the nested dict `tree` of arrays, NumPy scalars, integers and texts."""
    with open(path, "wb") as file:
        for piece in _pack(tree, chunk):
            file.write(piece)


def _pack(value, chunk):
    if isinstance(value, dict):
        yield b"\xdf" + struct.pack(">I", len(value))
        for name, item in value.items():
            yield from _pack(name, chunk)
            yield from _pack(item, chunk)
    elif isinstance(value, list):
        yield b"\xdd" + struct.pack(">I", len(value))
        for item in value:
            yield from _pack(item, chunk)
    elif isinstance(value, bool):
        yield b"\xc3" if value else b"\xc2"
    elif isinstance(value, str):
        yield b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    elif isinstance(value, int):
        yield b"\xd3" + struct.pack(">q", value)
    elif isinstance(value, np.generic):
        yield from _extension(3, np.asarray(value), chunk)
    elif value.nbytes > chunk:
        pieces = np.split(
            value.reshape(-1), range(chunk // value.itemsize, value.size, chunk // value.itemsize)
        )
        numbered = [{str(i): item for i, item in enumerate(items)} for items in (value.shape, pieces)]
        whole = {"__msgpack_chunked_array__": True, "shape": numbered[0], "chunks": numbered[1]}
        yield from _pack(whole, chunk)
    else:
        yield from _extension(1, value, chunk)


def _extension(code, array, chunk):
    head = b"".join([b"\x93", *_pack(list(array.shape), chunk), *_pack(array.dtype.name, chunk)])
    head += b"\xc6" + struct.pack(">I", array.nbytes)
    yield b"\xc9" + struct.pack(">Ib", len(head) + array.nbytes, code) + head
    yield np.ascontiguousarray(array).tobytes()
