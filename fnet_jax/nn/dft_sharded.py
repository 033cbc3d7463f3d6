"""The transforms of `dft.py` for examples whose positions are sharded over devices.

The width is transformed where x lies. For the length a device needs all positions, and two columns
together: with g = x C and h = x S along the width, columns 0 ≤ k ≤ D/2, weights (a, b) and C and S along
the length,

    y_k = (a·C − b·S) g_k − (a·S + b·C) h_k          y_(D−k) = (a·C − b·S) g_k + (a·S + b·C) h_k

h_0 and h_(D/2) are zero, g_0 and g_(D/2) have no partner, so these two share pair 0. D/2 pairs of real
columns are as many numbers as x has; they are what travels, twice (`parallel.with_whole_sequences`).

Letters: W: D/2 pairs, or as many of them as a device has; Z: g and h of a pair, or y_k and y_(D−k).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from fnet_jax.core.config import FourierImpl
from fnet_jax.core.mesh import num_shards
from fnet_jax.nn import dft
from fnet_jax.nn.matrices import accum_dtype, cos_sin, einsum
from fnet_jax.nn.parallel import has_first_shard, shard_map_batch, with_whole_sequences


def transform(x_BLD: jax.Array, weights: dft.Weights, impl: FourierImpl) -> jax.Array:
    """a·Re f + b·Im f, as the functions of `dft.py` compute it.

    Args:
        x_BLD: positions sharded over devices; D a multiple of twice the shards of L.
        weights: (a, b).
        impl: fft, dft, folded or split.
    """
    along_width, along_length = IMPLEMENTATIONS[impl]

    def on_device(h_BLZW: jax.Array) -> jax.Array:
        pairs_BLZW = along_length(h_BLZW, weights)
        # The pair that is two columns without a partner.
        columns_BLZ = h_BLZW[..., 0]
        alone_BLZW = along_length(jnp.stack([columns_BLZ, jnp.zeros_like(columns_BLZ)], axis=2), weights)
        first_BLZ = jnp.where(has_first_shard(), alone_BLZW[:, :, 0], pairs_BLZW[..., 0])
        return jnp.concatenate([first_BLZ[..., None], pairs_BLZW[..., 1:]], axis=-1).astype(x_BLD.dtype)

    y_BLZW = with_whole_sequences(on_device, along_width(x_BLD).astype(x_BLD.dtype))
    lower, upper = y_BLZW[:, :, 0], y_BLZW[:, :, 1]
    return jnp.concatenate([lower, upper[..., :1], upper[..., :0:-1]], axis=-1)


def why_unsupported(width: int) -> str | None:
    """Why positions cannot be sharded with this width D; None if they can."""
    step = 2 * num_shards("length")
    return f"model.d_model={width} is not a multiple of 2·mesh.seq={step}" if width % step else None


def _pack(g_BLY: jax.Array, h: jax.Array) -> jax.Array:
    """Pairs [B, L, Z, W] from the columns 0 … D/2 of g, and of h those in between."""
    return jnp.stack([g_BLY[..., :-1], jnp.concatenate([g_BLY[..., -1:], h], axis=-1)], axis=2)


@shard_map_batch
def _width_fft(x_BLD: jax.Array) -> jax.Array:
    f = jnp.fft.rfft(x_BLD.astype(accum_dtype(x_BLD)), axis=-1)
    return _pack(f.real, -f.imag[..., 1:-1])


def _width_dense(x_BLD: jax.Array) -> jax.Array:
    width = x_BLD.shape[-1]
    c, s = cos_sin(width, accum_dtype(x_BLD), width, width // 2 + 1)
    matrix_DZW = _pack(c[None], s[None, :, 1:-1])[0].astype(x_BLD.dtype)
    return einsum("bld,dzk->blzk", x_BLD, matrix_DZW)


def _width_folded(x_BLD: jax.Array) -> jax.Array:
    parts, matrices = dft.fold(x_BLD, axis=2), dft.quarters(x_BLD, axis=2)
    g, h = (
        einsum("bld,dk->blk", part.astype(x_BLD.dtype), matrix)
        for part, matrix in zip(parts, matrices, strict=True)
    )
    return _pack(g, h)


def _length_fft(h_BLZW: jax.Array, weights: dft.Weights) -> jax.Array:
    a, b = weights
    h = h_BLZW.astype(accum_dtype(h_BLZW))
    f = jnp.fft.fft(jax.lax.complex(h[:, :, 0], -h[:, :, 1]), axis=1)
    lower, upper = (dft.weighted(w, f.real, f.imag) for w in (weights, (a, -b)))
    return jnp.stack([lower, dft.mirror_rows(upper)], axis=2)


def _length_split(h_BLZW: jax.Array, weights: dft.Weights) -> jax.Array:
    h_BZLW = jnp.stack([h_BLZW[:, :, 0], -h_BLZW[:, :, 1]], axis=1)
    lower, upper = dft.two_stages(h_BZLW, weights)
    return jnp.stack([lower, dft.mirror_rows(upper)], axis=2)


def _length_dense(h_BLZW: jax.Array, weights: dft.Weights) -> jax.Array:
    c_LL, s_LL = cos_sin(h_BLZW.shape[1], accum_dtype(h_BLZW))
    g, h = (
        einsum("blk,nl->bnk", h_BLZW[:, :, z], matrix.astype(h_BLZW.dtype), round_output=False)
        for z, matrix in enumerate(dft.weighted_matrices(weights, c_LL, s_LL))
    )
    return jnp.stack([g - h, g + h], axis=2)


def _length_folded(h_BLZW: jax.Array, weights: dft.Weights) -> jax.Array:
    a, b = weights
    matrices = dft.quarters(h_BLZW, axis=1)

    def along(x_BLW: jax.Array, for_even: int, for_odd: int) -> jax.Array:
        """(for_even·C + for_odd·S) x."""
        even, odd = (
            w * einsum("blk,nl->bnk", part.astype(x_BLW.dtype), matrix, round_output=False) if w else None
            for part, matrix, w in zip(dft.fold(x_BLW, axis=1), matrices, (for_even, for_odd), strict=True)
        )
        return dft.unfold(even, odd, x_BLW.shape[1], axis=1)

    g, h = along(h_BLZW[:, :, 0], a, -b), along(h_BLZW[:, :, 1], b, a)
    return jnp.stack([g - h, g + h], axis=2)


IMPLEMENTATIONS: Mapping[
    FourierImpl, tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array, dft.Weights], jax.Array]]
] = {
    "fft": (_width_fft, _length_fft),
    "dft": (_width_dense, _length_dense),
    "folded": (_width_folded, _length_folded),
    "split": (_width_dense, _length_split),
}
