"""Functions that need other devices' shards of an array, with every collective written down.

Left to itself XLA's partitioner gathers a whole array for an FFT, a custom kernel, or an index into a
sharded axis. Inside `jax.shard_map` a device sees its own shard only, and says which others it needs.
The axes are those of `core/mesh.py`. Without a mesh, or with one device along these axes, all of this is
plain computation with no collective.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnet_jax.core.mesh import AXES, Logical, axis_size, constrain, num_shards, spec


def shard_map_batch(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """`fn` under `jax.shard_map`: each device calls it on its own shard of x[B, L, ...], with no collective.

    `fn` must treat examples independently, and positions too where these are sharded; y is sharded as x is.
    A batch that does not divide over the devices (a single example at inference) goes to `fn` whole.
    """

    def mapped(x: jax.Array) -> jax.Array:
        mesh = jax.sharding.get_abstract_mesh()
        if mesh.size <= 1 or set(mesh.manual_axes) & set(mesh.shape) or x.shape[0] % num_shards("batch"):
            return fn(x)
        # check_vma=False: a kernel does not say over which mesh axes its result varies.
        sharded = spec("batch", "length")
        return jax.shard_map(fn, in_specs=sharded, out_specs=sharded, check_vma=False)(x)

    return mapped


def with_whole_sequences(fn: Callable[..., jax.Array], x: jax.Array, *shared: jax.Array) -> jax.Array:
    """`fn(x, *shared)` for a `fn` that mixes positions but treats the last axis element by element.

    Where positions are sharded, an all-to-all gives each device all positions of a part of the last axis,
    and another one brings the result back: with s shards, a device sends (s − 1)/s of its shard twice.

    Args:
        fn: x[B, L, ..., D] -> y[B, L, ..., D], for any part of B and D.
        x: [B, L, ..., D] with D divisible by the number of shards of L.
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

    sharded = spec(_batch(x), "length", *(None,) * (x.ndim - 2))
    in_specs = (sharded, *(spec() for _ in shared))
    return jax.shard_map(on_device, in_specs=in_specs, out_specs=sharded)(x, *shared)


def divide_heads(x_BLHX: jax.Array) -> jax.Array:
    """From some positions of all heads on each device to all positions of some heads, by an all-to-all.

    The heads that a device has must be divisible by the number of shards of L. `divide_positions` undoes it.
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
    """x[b, positions[b, p]] as [B, P, D]; where positions are sharded, P is afterwards.

    Each device gives what it has and zeros for the rest; adding up scatters. P must be divisible by the
    number of shards of L.
    """
    if num_shards("length") == 1:
        # Indexed within each example, so a batch spread over devices needs no communication.
        return jnp.take_along_axis(x_BLD, positions_BP[:, :, None], axis=1)
    (axis,) = AXES.length

    def on_device(x_BLD: jax.Array, positions_BP: jax.Array) -> jax.Array:
        taken_BPD = _take_own(x_BLD, positions_BP, axis)
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
        return jax.lax.psum(_take_own(x_BLD, first_BP, axis)[:, 0], axis)

    batch = _batch(x_BLD)
    return jax.shard_map(on_device, in_specs=spec(batch, "length", None), out_specs=spec(batch, None))(x_BLD)


def has_first_shard() -> jax.Array | bool:
    """Inside the `fn` of `with_whole_sequences`: whether this device has the first shard of the last axis."""
    (axis,) = AXES.length
    return axis not in jax.sharding.get_abstract_mesh().manual_axes or jax.lax.axis_index(axis) == 0


def _take_own(x_BLD: jax.Array, positions_BP: jax.Array, axis: str) -> jax.Array:
    """Inside `shard_map`: x at those of the positions that this device has, zeros for the others."""
    length = x_BLD.shape[1]
    local_BP = positions_BP - jax.lax.axis_index(axis) * length
    mine_BP = (local_BP >= 0) & (local_BP < length)
    taken_BPD = jnp.take_along_axis(x_BLD, jnp.clip(local_BP, 0, length - 1)[:, :, None], axis=1)
    return jnp.where(mine_BP[:, :, None], taken_BPD, jnp.zeros_like(taken_BPD))


def _batch(x: jax.Array) -> str | None:
    """The logical axis of the examples; None for a batch that does not divide, which stays whole."""
    return None if x.shape[0] % axis_size(jax.sharding.get_abstract_mesh().shape, AXES.batch) else "batch"
