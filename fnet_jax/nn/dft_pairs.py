"""The transforms of `dft.py` for examples whose positions are divided over devices.

The width is transformed where x lies. For the length a device needs all positions, and two columns
together: with a = x C and b = x S along the width, columns 0 ≤ k ≤ D/2,

    fourier:  y_k = C a_k − S b_k,               y_(D−k) = C a_k + S b_k
    hartley:  y_k = (C + S) a_k + (C − S) b_k,   y_(D−k) = (C + S) a_k − (C − S) b_k

with C and S along the length. b_0 and b_(D/2) are zero, a_0 and a_(D/2) have no partner, so these two share
pair 0. D/2 pairs of real columns are as many numbers as x has; they are what travels, twice
(`parallel.with_whole_sequences`). Letter K: D/2 pairs; Z: a and b.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fnet_jax.core.mesh import num_shards
from fnet_jax.nn import dft
from fnet_jax.nn.matrices import accum_dtype, cos_sin, einsum
from fnet_jax.nn.parallel import has_first_part, shard_map_batch, with_whole_sequences

FOURIER: dft.Wanted = ((1, 0), (1, 0))
HARTLEY: dft.Wanted = ((1, -1), (1, 1))


def transform(x_BLD: jax.Array, way: str, wanted: dft.Wanted) -> jax.Array:
    """`fourier` or `hartley` of x.

    Args:
        x_BLD: positions divided over devices; D a multiple of twice the number of parts, see `why_not`.
        way: fft, dft, folded or split, as in `dft.py`.
        wanted: `FOURIER` or `HARTLEY`: factors of Re and Im that make column k of the result from column k
            of the spectrum, and column D − k from the mirror image of column k.
    """
    along_width, along_length = _WAYS[way]

    def on_device(h_BLZK: jax.Array) -> jax.Array:
        pairs_BLZK = along_length(h_BLZK, wanted)
        columns_BLZ = h_BLZK[..., 0]
        alone_BLZ = along_length(jnp.stack([columns_BLZ, jnp.zeros_like(columns_BLZ)], axis=2), wanted)[
            :, :, 0
        ]
        first_BLZ = jnp.where(has_first_part(), alone_BLZ, pairs_BLZK[..., 0])
        return jnp.concatenate([first_BLZ[..., None], pairs_BLZK[..., 1:]], axis=-1).astype(x_BLD.dtype)

    y_BLZK = with_whole_sequences(on_device, along_width(x_BLD).astype(x_BLD.dtype))
    lower, upper = y_BLZK[:, :, 0], y_BLZK[:, :, 1]
    return jnp.concatenate([lower, upper[..., :1], upper[..., :0:-1]], axis=-1)


def why_not(width: int) -> str | None:
    """Why the width D cannot be divided, or None."""
    step = 2 * num_shards("length")
    return f"model.d_model={width} is not a multiple of 2·mesh.seq={step}" if width % step else None


def _pack(a: jax.Array, b: jax.Array) -> jax.Array:
    """Pairs [B, L, Z, K] from the columns 0 … D/2 of a, and of b those in between."""
    return jnp.stack([a[..., :-1], jnp.concatenate([a[..., -1:], b], axis=-1)], axis=2)


@shard_map_batch
def _width_fft(x_BLD: jax.Array) -> jax.Array:
    f = jnp.fft.rfft(x_BLD.astype(accum_dtype(x_BLD)), axis=-1)
    return _pack(f.real, -f.imag[..., 1:-1])


def _width_dense(x_BLD: jax.Array) -> jax.Array:
    width = x_BLD.shape[-1]
    c, s = cos_sin(width, accum_dtype(x_BLD), width, width // 2 + 1)
    matrix_DZK = _pack(c[None], s[None, :, 1:-1])[0].astype(x_BLD.dtype)
    return einsum("bld,dzk->blzk", x_BLD, matrix_DZK)


def _width_folded(x_BLD: jax.Array) -> jax.Array:
    even, odd = dft.fold(x_BLD, axis=2)
    c, s = dft.quarters(x_BLD, axis=2)
    return _pack(
        einsum("bld,dk->blk", even.astype(x_BLD.dtype), c), einsum("bld,dk->blk", odd.astype(x_BLD.dtype), s)
    )


def _length_fft(h_BLZK: jax.Array, wanted: dft.Wanted) -> jax.Array:
    h = h_BLZK.astype(accum_dtype(h_BLZK))
    f = jnp.fft.fft(jax.lax.complex(h[:, :, 0], -h[:, :, 1]), axis=1)
    lower, upper = (p * f.real + q * f.imag for p, q in wanted)
    return jnp.stack([lower, dft.mirrored(upper)], axis=2)


def _length_split(h_BLZK: jax.Array, wanted: dft.Wanted) -> jax.Array:
    h_BZLK = jnp.stack([h_BLZK[:, :, 0], -h_BLZK[:, :, 1]], axis=1)
    lower, upper = dft.two_stages(h_BZLK, wanted)
    return jnp.stack([lower, dft.mirrored(upper)], axis=2)


def _length_dense(h_BLZK: jax.Array, wanted: dft.Wanted) -> jax.Array:
    (p, q), _ = wanted
    c, s = cos_sin(h_BLZK.shape[1], accum_dtype(h_BLZK))
    u, v = (
        einsum("blk,nl->bnk", h_BLZK[:, :, z], matrix.astype(h_BLZK.dtype), keep_wide=True)
        for z, matrix in enumerate((p * c - q * s, -p * s - q * c))
    )
    return jnp.stack([u + v, u - v], axis=2)


def _length_folded(h_BLZK: jax.Array, wanted: dft.Wanted) -> jax.Array:
    (p, q), _ = wanted
    c, s = dft.quarters(h_BLZK, axis=1)
    product = functools.partial(einsum, "blk,nl->bnk", keep_wide=True)

    def along(x_BLK: jax.Array, for_even: int, for_odd: int) -> jax.Array:
        even, odd = (part.astype(x_BLK.dtype) for part in dft.fold(x_BLK, axis=1))
        y_even = for_even * product(even, c) if for_even else None
        y_odd = for_odd * product(odd, s) if for_odd else None
        return dft.unfold(y_even, y_odd, x_BLK.shape[1], axis=1)

    u, v = along(h_BLZK[:, :, 0], p, -q), along(h_BLZK[:, :, 1], -q, -p)
    return jnp.stack([u + v, u - v], axis=2)


_WAYS: dict[str, tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array, dft.Wanted], jax.Array]]] = {
    "fft": (_width_fft, _length_fft),
    "dft": (_width_dense, _length_dense),
    "folded": (_width_folded, _length_folded),
    "split": (_width_dense, _length_split),
}
