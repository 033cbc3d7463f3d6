"""What the TPU kernels share: mirroring, signs, and products that round as `matrices.einsum` does."""

import jax
import jax.numpy as jnp

# Rows and columns of one float32 vector register.
SUBLANES, LANES = 8, 128


def mirror(x: jax.Array, axis: int) -> jax.Array:
    """y[k] = x[−k mod n] along one axis of two: index 0 stays, the others are reversed.

    Mosaic cannot reverse an array, only permute within a register. So each register is mirrored in
    itself, they change places, and index 0 of each comes from the one after.

    Args:
        x: float32; n is a multiple of 8 along axis 0, of 128 along axis 1.
        axis: 0 or 1.
    """
    unit = (SUBLANES, LANES)[axis]
    count = x.shape[axis] // unit
    registers = [
        mirror_register(jax.lax.slice_in_dim(x, i * unit, (i + 1) * unit, axis=axis), axis)
        for i in range(count)
    ]
    first = index(registers[0], axis) == 0
    parts = [jnp.where(first, registers[-i % count], registers[-i - 1]) for i in range(count)]
    return jnp.concatenate(parts, axis)


def mirror_register(x: jax.Array, axis: int) -> jax.Array:
    """`mirror` of a float32 array that is one register long along `axis`."""
    unit = x.shape[axis]
    return jnp.take_along_axis(x, (unit - index(x, axis)) % unit, axis=axis, mode="promise_in_bounds")


def index(x: jax.Array, axis: int) -> jax.Array:
    """The index along `axis` of each element of x: int32, the shape of x."""
    return jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)


def signs(shape: tuple[int, int], axis: int) -> jax.Array:
    """(−1)^k, k being the index along `axis`: float32."""
    k = jax.lax.broadcasted_iota(jnp.int32, shape, axis)
    return (1 - 2 * (k % 2)).astype(jnp.float32)


def dot(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The matrix product of a and b, both rounded to `dtype` first: float32."""
    precision = jax.lax.Precision.HIGHEST if dtype == jnp.float32 else None
    a, b = a.astype(dtype), b.astype(dtype)
    return jnp.dot(a, b, precision=precision, preferred_element_type=jnp.float32)
