"""Where the state lies: a line for each parameter, and bytes per device."""

import math
from typing import Any

import jax
from jax.sharding import NamedSharding

from fnet_jax.core.mesh import path_str
from fnet_jax.train.state import TrainState


def bytes_per_device(tree: Any) -> int:
    """Bytes of the arrays (or ShapeDtypeStructs) of a tree that one device holds, by their shardings."""
    return sum(_local_bytes(leaf) for leaf in jax.tree.leaves(tree))


def describe_layout(state: TrainState) -> list[str]:
    """One line per parameter: path, shape, the mesh axis of each dimension, MiB on one device.

    The optimizer's moments lie as their parameters do.

    Args:
        state: arrays or ShapeDtypeStructs, with shardings.
    """
    leaves = jax.tree_util.tree_leaves_with_path(dict(state.variables))
    rows = [
        (
            path_str(path).partition("/")[2],
            " x ".join(f"{size:,}" for size in leaf.shape),
            _axes(leaf.sharding, leaf.ndim),
            f"{_local_bytes(leaf) / 2**20:.2f} MiB",
        )
        for path, leaf in leaves
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{path:{widths[0]}}  {shape:>{widths[1]}}  {axes:{widths[2]}}  {size:>{widths[3]}}"
        for path, shape, axes, size in rows
    ]
    parameters, optimizer = bytes_per_device(state.variables), bytes_per_device(state.opt_state)
    return [
        *lines,
        f"on each device: parameters {parameters / 2**20:,.1f} MiB, optimizer {optimizer / 2**20:,.1f} MiB",
    ]


def _axes(sharding: NamedSharding, ndim: int) -> str:
    """Such as "- fsdp tensor"; axes of one device are left out."""
    names = []
    for i in range(ndim):
        axes = sharding.spec[i] if i < len(sharding.spec) else None
        group = (axes,) if isinstance(axes, str) else axes or ()
        names.append("+".join(axis for axis in group if sharding.mesh.shape[axis] > 1) or "-")
    return " ".join(names) if any(name != "-" for name in names) else "whole"


def _local_bytes(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
