"""Fourier mixing as one TPU kernel: an example is read once, mixed in on-chip memory, written once.

Lengths up to 2,048 are folded, as `nn/dft.py` does it and docs/mixing.md draws it, in both dimensions:

    ee = x folded evenly, oo = x folded oddly, along L and along D    a quarter of x each
    a = C_L ee C_D, q = S_L oo S_D                                    a quarter of y each
    y = a − q, and a + q mirrored, put together                       see `_unfold`

Index n/2 (Nyquist) is its own mirror image and stays out of the folds: as an input it adds (−1)^j to
output j, as an output it is one more row of C_L and one more column of C_D.

With h = L/2 and w = D/2 the letters are H: h, I: h and the Nyquist row, W: w, V: w and the Nyquist
column; I and V are padded to whole registers.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from fnet_jax.nn.kernels.tpu_ops import LANES, SUBLANES, dot, index, mirror, signs
from fnet_jax.nn.matrices import cos_sin

_MAX_FOLDED = 2048
_EXTRA_ROWS = 2 * SUBLANES  # one register of bfloat16 for the Nyquist row
# Of 64 MiB on TPU7x, 128 MiB on v5e and v6e.
_VMEM_BYTES = 60 * 2**20


def fourier(x_BLD: jax.Array, *, interpret: bool = False) -> jax.Array:
    """`Re(F_L x F_D)`, as `transforms.fourier`; forward only.

    Args:
        x_BLD: float32 or bfloat16; multiplied in that dtype, at full precision, added in float32.
        interpret: run on any device, slowly, without a TPU.

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: if the kernel cannot serve L or D, see `why_not`; or the dtype.
    """
    batch, length, width = x_BLD.shape
    if reason := why_not(length, width):
        raise ValueError(f"no TPU kernel for x{[*x_BLD.shape]}: {reason}")
    if x_BLD.dtype not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"no TPU kernel for {x_BLD.dtype}: use float32 or bfloat16")
    matrices = _matrices(length, width, x_BLD.dtype)
    example = pl.BlockSpec((None, length, width), lambda b: (b, 0, 0))
    call = pl.pallas_call(
        _folded_kernel,
        out_shape=jax.ShapeDtypeStruct(x_BLD.shape, x_BLD.dtype),
        grid=(batch,),
        in_specs=[example, *(pl.BlockSpec(m.shape, lambda b: (0, 0)) for m in matrices)],
        out_specs=example,
        cost_estimate=cost(batch, length, width, x_BLD.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",), vmem_limit_bytes=_VMEM_BYTES),
        interpret=interpret,
        name="fourier_folded",
    )
    return call(x_BLD, *matrices)


def why_not(length: int, width: int) -> str | None:
    """Why the kernel cannot serve L and D, as a clause that says what it can serve; None if it can."""
    if length % 16 or not 32 <= length <= _MAX_FOLDED:
        return f"length {length} is not a multiple of 16 from 32 to {_MAX_FOLDED}"
    if width % 256 or not 256 <= width <= 1024:
        return f"width {width} is not 256, 512, 768 or 1024"
    return None


def cost(batch: int, length: int, width: int, dtype: Any) -> pl.CostEstimate:
    """What one call does.

    Returns:
        FLOPs of all matrix products, padding included, and bytes between the chip and its memory.
    """
    h, w = length // 2, width // 2
    rows, columns = h + _EXTRA_ROWS, w + LANES
    flops = 2 * (rows * w * columns + h * w * w + h * rows * columns + h * h * w)
    numbers = 2 * batch * length * width + w * columns + w * w + rows * h + h * h
    size = jnp.dtype(dtype).itemsize
    return pl.CostEstimate(flops=batch * flops, transcendentals=0, bytes_accessed=numbers * size)


def _matrices(length: int, width: int, dtype: jnp.dtype) -> tuple[jax.Array, ...]:
    """c_IH, s_HH, c_WV and s_WW."""
    h, w, wide = length // 2, width // 2, jnp.dtype(jnp.float32)
    c_IH, s_IH = cos_sin(length, wide, h + 1, h)
    c_WV, s_WV = cos_sin(width, wide, w, w + 1)
    c_IH = jnp.pad(c_IH, ((0, _EXTRA_ROWS - 1), (0, 0)))
    c_WV = jnp.pad(c_WV, ((0, 0), (0, LANES - 1)))
    return tuple(matrix.astype(dtype) for matrix in (c_IH, s_IH[:h], c_WV, s_WV[:, :w]))


def _folded_kernel(x_ref: Any, c_IH: Any, s_HH: Any, c_WV: Any, s_WW: Any, y_ref: Any) -> None:
    """Refs: x[L, D], the matrices, y[L, D]. All sums in float32."""
    dtype = x_ref.dtype
    times = functools.partial(dot, dtype=dtype)
    even_IW, nyquist_I1, odd_HW = _fold(x_ref[...].astype(jnp.float32))

    g_IV = times(even_IW, c_WV[...])
    g_IV += nyquist_I1 * signs((1, g_IV.shape[1]), 1)
    h = odd_HW.shape[0]
    a_IV = times(c_IH[...], g_IV[:h]) + signs((g_IV.shape[0], 1), 0) * g_IV[h : h + 1]
    q_HW = times(s_HH[...], times(odd_HW, s_WW[...]))

    top_HD, bottom_HD = _unfold(a_IV, q_HW)
    y_ref[:h] = top_HD.astype(dtype)
    y_ref[h:] = bottom_HD.astype(dtype)


def _fold(x_LD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The part of x that is even in both indices, without and then of its Nyquist column; the odd one.

    Row and column 0 of the odd part are left as they come: those of S_L and S_D are zero. So are the rows
    after the Nyquist row, which nothing reads.
    """
    h, w = (n // 2 for n in x_LD.shape)
    top_HD, mirrored_HD = x_LD[:h], mirror(x_LD[h:], 0)
    even_HD = top_HD + jnp.where(index(top_HD, 0) == 0, 0.0, mirrored_HD)
    even_ID = jnp.concatenate([even_HD, x_LD[h : h + _EXTRA_ROWS]], 0)
    odd_HD = top_HD - mirrored_HD

    mirrored_IW = mirror(even_ID[:, w:], 1)
    even_IW = even_ID[:, :w] + jnp.where(index(mirrored_IW, 1) == 0, 0.0, mirrored_IW)
    return even_IW, even_ID[:, w : w + 1], odd_HD[:, :w] - mirror(odd_HD[:, w:], 1)


def _unfold(a_IV: jax.Array, q_HW: jax.Array) -> tuple[jax.Array, jax.Array]:
    """y from its even part a and its odd part q.

    a − q          a + q, mirrored            first column: column w of a
    a + q, mir-    a − q, mirrored            first row: row h of a
    rored in l     in both
    """
    h, w = q_HW.shape

    def row(left: jax.Array, right: jax.Array, nyquist: jax.Array) -> jax.Array:
        right = jnp.where(index(right, 1) == 0, nyquist, right)
        return jnp.concatenate([left, mirror(right, 1)], 1)

    a_HW, nyquist_H1 = a_IV[:h, :w], a_IV[:h, w : w + 1]
    top_HD = row(a_HW - q_HW, a_HW + q_HW, nyquist_H1)
    bottom_HD = row(a_HW + q_HW, a_HW - q_HW, nyquist_H1)
    last = a_IV[h : h + SUBLANES]
    last_1D = row(last[:, :w], last[:, :w], last[:, w : w + 1])[:1]
    return top_HD, mirror(jnp.where(index(bottom_HD, 0) == 0, last_1D, bottom_HD), 0)
