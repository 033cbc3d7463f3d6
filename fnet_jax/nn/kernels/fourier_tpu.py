"""Fourier mixing as one TPU kernel: an example is read once, mixed in on-chip memory, written once.

For TPU v5e and later: earlier ones lack an instruction that it needs, or the memory.

Lengths up to 1,024 are folded, as `nn/dft.py` does it and docs/mixing.md draws it, in both dimensions:

    ee = x folded evenly, oo = x folded oddly, along L and along D    a quarter of x each
    a = C_L ee C_D, q = S_L oo S_D                                    a quarter of y each
    y = a − q, and a + q mirrored, put together                       see `_unfold`

Index n/2 (Nyquist) is its own mirror image and stays out of the folds: as an input it adds (−1)^j to
output j, as an output it is one more row of C_L and one more column of C_D. Longer ones:
`fourier_tpu_long.py`.

Letters: J: h = L/2 rows; I: these and the Nyquist row; W: w = D/2 columns; Y: these and the Nyquist column.
I and Y are padded to whole registers.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from fnet_jax.nn.kernels import fourier_tpu_long
from fnet_jax.nn.kernels.tpu_ops import (
    LANES,
    SUBLANES,
    VMEM_BYTES,
    dot,
    fold_columns,
    index,
    mirror,
    signs,
    width_matrices,
)
from fnet_jax.nn.matrices import cos_sin

_MAX_FOLDED, _MAX_LENGTH = 1024, 8192
_MAX_SIZE = 8192 * 768  # of an example, so that its spectrum in float32 fits on the chip
_EXTRA_ROWS = 2 * SUBLANES  # one register of bfloat16 for the Nyquist row


def fourier(x_BLD: jax.Array, *, interpret: bool = False) -> jax.Array:
    """`Re(F_L x F_D)`, as `transforms.fourier`; forward only.

    Args:
        x_BLD: float32 or bfloat16; multiplied in that dtype, at full precision, added in float32.
        interpret: run on any device, slowly, without a TPU.

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: if the kernel cannot serve L or D, see `why_unsupported`; or the dtype.
    """
    batch, length, width = x_BLD.shape
    if reason := why_unsupported(length, width):
        raise ValueError(f"no TPU kernel for x{[*x_BLD.shape]}: {reason}")
    if x_BLD.dtype not in (jnp.float32, jnp.bfloat16):
        raise ValueError(f"no TPU kernel for {x_BLD.dtype}: use float32 or bfloat16")
    kernel = _folded if length <= _MAX_FOLDED else fourier_tpu_long.fourier
    return kernel(x_BLD, cost(batch, length, width, x_BLD.dtype), interpret)


def why_unsupported(length: int, width: int) -> str | None:
    """Why the kernel cannot serve L and D, as a clause that says what it can serve; None if it can."""
    step = 16 if length <= _MAX_FOLDED else 64
    if length % step or not 32 <= length <= _MAX_LENGTH:
        return (
            f"length {length} is not a multiple of 16 from 32 to {_MAX_FOLDED} or of 64 up to {_MAX_LENGTH}"
        )
    if width not in (256, 512, 768, 1024):
        return f"width {width} is not 256, 512, 768 or 1024"
    if length * width > _MAX_SIZE:
        return f"length {length} times width {width} is above {_MAX_SIZE}, what fits into on-chip memory"
    return None


def cost(batch: int, length: int, width: int, dtype: Any) -> pl.CostEstimate:
    """What one call does.

    Returns:
        FLOPs of all matrix products, padding included, and bytes between the chip and its memory.
    """
    flops, matrices = (_count if length <= _MAX_FOLDED else fourier_tpu_long.count)(length, width)
    numbers = 2 * batch * length * width + matrices
    return pl.CostEstimate(
        flops=batch * flops, transcendentals=0, bytes_accessed=numbers * jnp.dtype(dtype).itemsize
    )


def _count(length: int, width: int) -> tuple[int, int]:
    """FLOPs per example, and numbers in the matrices."""
    h, w = length // 2, width // 2
    rows, columns = h + _EXTRA_ROWS, w + LANES
    flops = 2 * (rows * w * columns + h * w * w + h * rows * columns + h * h * w)
    return flops, w * columns + w * w + rows * h + h * h


def _folded(x_BLD: jax.Array, cost: pl.CostEstimate, interpret: bool) -> jax.Array:
    batch, length, width = x_BLD.shape
    matrices = (*_length_matrices(length, x_BLD.dtype), *width_matrices(width, x_BLD.dtype))
    example = pl.BlockSpec((None, length, width), lambda b: (b, 0, 0))
    call = pl.pallas_call(
        _kernel,
        out_shape=jax.ShapeDtypeStruct(x_BLD.shape, x_BLD.dtype),
        grid=(batch,),
        in_specs=[example, *(pl.BlockSpec(matrix.shape, lambda b: (0, 0)) for matrix in matrices)],
        out_specs=example,
        cost_estimate=cost,
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",), vmem_limit_bytes=VMEM_BYTES),
        interpret=interpret,
        name="fourier_folded",
    )
    return call(x_BLD, *matrices)


def _length_matrices(length: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """c_IJ and s_JJ: the quarters of C_L and S_L."""
    h = length // 2
    c, s = cos_sin(length, jnp.dtype(jnp.float32), h + 1, h)
    return jnp.pad(c, ((0, _EXTRA_ROWS - 1), (0, 0))).astype(dtype), s[:h].astype(dtype)


def _kernel(x_ref: Any, c_IJ: Any, s_JJ: Any, c_WY: Any, s_WW: Any, y_ref: Any) -> None:
    """Refs: x[L, D], the matrices, y[L, D]. All sums in float32."""
    times = functools.partial(dot, dtype=x_ref.dtype)
    even_ID, odd_JD = _fold_rows(x_ref[...].astype(jnp.float32))
    h = odd_JD.shape[0]

    even_IW, nyquist_IY, _ = fold_columns(even_ID)
    g_IY = times(even_IW, c_WY[...]) + nyquist_IY
    a_IY = times(c_IJ[...], g_IY[:h]) + signs((g_IY.shape[0], 1), 0) * g_IY[h : h + 1]
    _, _, odd_JW = fold_columns(odd_JD)
    q_JW = times(s_JJ[...], times(odd_JW, s_WW[...]))

    top_JD, bottom_JD = _unfold(a_IY, q_JW)
    y_ref[:h] = top_JD.astype(y_ref.dtype)
    y_ref[h:] = bottom_JD.astype(y_ref.dtype)


def _fold_rows(x_LD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """even_ID and odd_JD.

    Row 0 of the odd part is left as it comes: that column of S_L is zero. So are the rows after the
    Nyquist row, which nothing reads.
    """
    h = x_LD.shape[0] // 2
    top, bottom = x_LD[:h], mirror(x_LD[h:], 0)
    even = top + jnp.where(index(top, 0) == 0, 0.0, bottom)
    return jnp.concatenate([even, x_LD[h : h + _EXTRA_ROWS]], 0), top - bottom


def _unfold(a_IY: jax.Array, q_JW: jax.Array) -> tuple[jax.Array, jax.Array]:
    """y from its even part a and its odd part q.

    a − q          a + q, mirrored            first column: column w of a
    a + q, mir-    a − q, mirrored            first row: row h of a
    rored in l     in both
    """
    h, w = q_JW.shape

    def row(left: jax.Array, right: jax.Array, nyquist: jax.Array) -> jax.Array:
        right = jnp.where(index(right, 1) == 0, nyquist, right)
        return jnp.concatenate([left, mirror(right, 1)], 1)

    a_JW, nyquist_J1 = a_IY[:h, :w], a_IY[:h, w : w + 1]
    top_JD = row(a_JW - q_JW, a_JW + q_JW, nyquist_J1)
    bottom_JD = row(a_JW + q_JW, a_JW - q_JW, nyquist_J1)
    last = a_IY[h : h + SUBLANES]
    last_1D = row(last[:, :w], last[:, :w], last[:, w : w + 1])[:1]
    return top_JD, mirror(jnp.where(index(bottom_JD, 0) == 0, last_1D, bottom_JD), 0)
