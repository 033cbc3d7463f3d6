"""What a device does with its part of an array when it needs the other devices', said explicitly.

Left to itself XLA's partitioner gathers a whole array for an FFT, a custom kernel, or an index into a
divided axis. Inside `shard_map` a device sees its own part only, and every collective is written down.
The axes are those of `core/mesh.py`; without a mesh, or with one device along them, all of these are the
plain functions.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnet_jax.core.mesh import AXES, Logical, axis_size, constrain, num_shards, spec


def shard_map_batch(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Runs `fn` on what each device has of x[B, L, ...]; y is divided in the same way.

    With a batch that does not divide (a single example at inference) it is `fn` itself. `fn` must treat
    examples independently, and positions too where they are divided.
    """

    def mapped(x: jax.Array) -> jax.Array:
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.size <= 1 or set(mesh.manual_axes) & set(mesh.shape) or x.shape[0] % num_shards("batch"):
            return fn(x)
        # check_vma=False: a kernel does not say over which mesh axes its result varies.
        divided = spec("batch", "length")
        return jax.shard_map(fn, in_specs=divided, out_specs=divided, check_vma=False)(x)

    return mapped


def with_whole_sequences(fn: Callable[..., jax.Array], x: jax.Array, *shared: jax.Array) -> jax.Array:
    """`fn(x, *shared)` for a `fn` that mixes positions but treats the last axis element by element.

    Where positions are divided, an all-to-all gives each device all positions of a part of the last axis,
    and another one brings the result back: twice (s − 1)/s of its part of x sent, for s parts.

    Args:
        fn: x[B', L, ..., W'] -> y[B', L, ..., W'], for any part of B and W.
        x: [B, L, ..., W] with W divisible by the parts of L.
        shared: arrays that every device needs whole, such as a matrix [L, L].
    """
    if num_shards("length") == 1:
        return fn(x, *shared)
    (axis,) = AXES.length

    def on_device(x: jax.Array, *shared: jax.Array) -> jax.Array:
        last = x.ndim - 1
        x = jax.lax.all_to_all(x, axis, split_axis=last, concat_axis=1, tiled=True)
        y = fn(x, *shared)
        return jax.lax.all_to_all(y, axis, split_axis=1, concat_axis=last, tiled=True)

    divided = spec(_batch(x), "length", *(None,) * (x.ndim - 2))
    in_specs = (divided, *(spec() for _ in shared))
    return jax.shard_map(on_device, in_specs=in_specs, out_specs=divided)(x, *shared)


def divide_heads(x_BLHX: jax.Array) -> jax.Array:
    """From a part of the positions of each head to all positions of some heads, by an all-to-all.

    H must divide by the parts of L, within each part of H. `divide_positions` is the way back.
    """
    return _exchange(x_BLHX, ("length", "heads"), (None, "whole_heads"), split_axis=2, concat_axis=1)


def divide_positions(x_BLHX: jax.Array) -> jax.Array:
    """The inverse of `divide_heads`."""
    return _exchange(x_BLHX, (None, "whole_heads"), ("length", "heads"), split_axis=1, concat_axis=2)


def _exchange(
    x_BLHX: jax.Array, before: Logical, after: Logical, split_axis: int, concat_axis: int
) -> jax.Array:
    batch = _batch(x_BLHX)
    if num_shards("length") == 1:
        return constrain(x_BLHX, batch, *after, None)
    (axis,) = AXES.length
    exchange = functools.partial(
        jax.lax.all_to_all, axis_name=axis, split_axis=split_axis, concat_axis=concat_axis, tiled=True
    )
    in_specs, out_specs = (spec(batch, *logical, None) for logical in (before, after))
    return jax.shard_map(exchange, in_specs=in_specs, out_specs=out_specs)(x_BLHX)


def take_positions(x_BLD: jax.Array, positions_BP: jax.Array) -> jax.Array:
    """x[b, positions[b, p]] as [B, P, D]; where positions are divided, so is P afterwards.

    Each device gives what it has and zeros for the rest; adding up scatters. P must divide as L does.
    """
    if num_shards("length") == 1:
        # Indexed within each example, so a batch spread over devices needs no communication.
        return jnp.take_along_axis(x_BLD, positions_BP[:, :, None], axis=1)
    (axis,) = AXES.length

    def on_device(x_BLD: jax.Array, positions_BP: jax.Array) -> jax.Array:
        taken_BPD = _own(x_BLD, positions_BP, axis)
        return jax.lax.psum_scatter(taken_BPD, axis, scatter_dimension=1, tiled=True)

    batch = _batch(x_BLD)
    in_specs, out_specs = (spec(batch, "length", None), spec(batch, None)), spec(batch, "length", None)
    return jax.shard_map(on_device, in_specs=in_specs, out_specs=out_specs)(x_BLD, positions_BP)


def first_position(x_BLD: jax.Array) -> jax.Array:
    """x[:, 0] as [B, D], on every device that shares the example."""
    if num_shards("length") == 1:
        return x_BLD[:, 0]
    (axis,) = AXES.length

    def on_device(x_BLD: jax.Array) -> jax.Array:
        first_BP = jnp.zeros((x_BLD.shape[0], 1), jnp.int32)
        return jax.lax.psum(_own(x_BLD, first_BP, axis)[:, 0], axis)

    batch = _batch(x_BLD)
    return jax.shard_map(on_device, in_specs=spec(batch, "length", None), out_specs=spec(batch, None))(x_BLD)


def has_first_part() -> jax.Array | bool:
    """Inside the `fn` of `with_whole_sequences`: whether this device has the first part of the last axis."""
    (axis,) = AXES.length
    return axis not in jax.sharding.get_abstract_mesh().manual_axes or jax.lax.axis_index(axis) == 0


def _own(x_BLD: jax.Array, positions_BP: jax.Array, axis: str) -> jax.Array:
    """Inside `shard_map`: the positions that this device has, zeros in place of the others."""
    length = x_BLD.shape[1]
    local_BP = positions_BP - jax.lax.axis_index(axis) * length
    mine_BP = (local_BP >= 0) & (local_BP < length)
    taken_BPD = jnp.take_along_axis(x_BLD, jnp.clip(local_BP, 0, length - 1)[:, :, None], axis=1)
    return jnp.where(mine_BP[:, :, None], taken_BPD, jnp.zeros_like(taken_BPD))


def _batch(x: jax.Array) -> str | None:
    """The logical axis of the examples; None for a batch that does not divide, which stays whole."""
    return None if x.shape[0] % axis_size(jax.sharding.get_abstract_mesh().shape, AXES.batch) else "batch"
