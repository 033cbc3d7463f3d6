"""What the TPU kernels share: folding along D, mirroring, and products that round as `matrices.einsum`."""

import jax
import jax.numpy as jnp

from fnet_jax.nn.matrices import cos_sin

# Rows and columns of one float32 vector register.
SUBLANES, LANES = 8, 128
# What a kernel may use of on-chip memory: TPU7x has 64 MiB, v5e and v6e have 128. Not less where less would
# do: XLA then copies x whole into what is left, before the kernel reads it (80 MB moved in place of 30).
VMEM_BYTES = 60 * 2**20


def width_matrices(width: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """c_WY and s_WW, w = D/2: the quarters of C_D and S_D; Y: w, column D/2, and 127 columns of zeros."""
    w = width // 2
    c, s = cos_sin(width, jnp.dtype(jnp.float32), w, w + 1)
    return jnp.pad(c, ((0, 0), (0, LANES - 1))).astype(dtype), s[:, :w].astype(dtype)


def fold_columns(x_GD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Splits G rows for a transform along D.

    Returns:
        even_GW, for c_WY, without column D/2; what that column adds to the product, [G, Y]; odd_GW, for
        s_WW, of which column 0 is left as it comes, because row 0 of s_WW is zero.
    """
    w = x_GD.shape[1] // 2
    left, right = x_GD[:, :w], mirror(x_GD[:, w:], 1)
    even = left + jnp.where(index(right, 1) == 0, 0.0, right)
    return even, x_GD[:, w : w + 1] * signs((1, w + LANES), 1), left - right


def mirror(x: jax.Array, axis: int) -> jax.Array:
    """y[k] = x[−k mod n] along one axis of two: index 0 stays, the others are reversed.

    Mosaic cannot reverse an array, only permute within a register. So each register is mirrored in
    itself, they change places, and index 0 of each comes from the one after.

    Args:
        x: float32[n, m]; n is a multiple of 8 for axis 0, m one of 128 for axis 1.
        axis: 0 or 1.
    """
    if axis == 0:
        parts = list(_mirror_inside(x.reshape(-1, SUBLANES, x.shape[1])))
    else:
        parts = [_mirror_inside(x[:, i : i + LANES]) for i in range(0, x.shape[1], LANES)]
    first = index(parts[0], axis) == 0
    return jnp.concatenate(
        [jnp.where(first, parts[-i % len(parts)], parts[-i - 1]) for i in range(len(parts))], axis
    )


def _mirror_inside(x: jax.Array) -> jax.Array:
    """`mirror` along axis 1, which is one register long. TPUs before v5 cannot permute along rows."""
    unit = x.shape[1]
    return jnp.take_along_axis(x, (unit - index(x, 1)) % unit, axis=1, mode="promise_in_bounds")


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
