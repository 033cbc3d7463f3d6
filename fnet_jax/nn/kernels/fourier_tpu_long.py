"""Fourier mixing of long sequences as one TPU kernel: folded along D, two short stages along L.

An example passes through on-chip memory once, in two phases of the grid:

    tiles of rows:     g = C_D of the even part of x, h = S_D of the odd part    columns 0 … D/2
    blocks of columns: y = Re(F_L (g − ih)), for columns 0 … D/2 − 1; column D − d is column d with its
                       rows mirrored

Along L the transform is split as in `dft.split`: L = L1·L2, l = L2·i + m, j = c + L1·e. The first
stage, a product over i for each m, overwrites g and h; the second is one over m for each c.

Letters: W: w = D/2 columns; Y: these and column D/2, padded to whole registers.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from fnet_jax.nn.kernels.tpu_ops import LANES, VMEM_BYTES, dot, fold_columns, index, mirror, width_matrices
from fnet_jax.nn.matrices import cos_sin, radians, two_factors

# Products in flight at once, and rows that are mirrored at once.
_AT_ONCE = 8
_ROWS = 64


def fourier(x_BLD: jax.Array, cost: pl.CostEstimate, interpret: bool) -> jax.Array:
    """As `fourier_tpu.fourier`, for L a multiple of 64 and D one of 256."""
    batch, length, width = x_BLD.shape
    dtype, blocks = x_BLD.dtype, width // 2 // LANES
    rows = next(n for n in (256, 128, 64) if length % n == 0)
    tiles = length // rows
    matrices = (*width_matrices(width, dtype), *_stages(length, dtype))

    def out_block(b: jax.Array, step: jax.Array) -> tuple[Any, ...]:
        block, is_right = _column_step(jnp.maximum(step - tiles, 0), blocks)
        return b, 0, jnp.where(is_right, 2 * blocks - 1 - block, block)

    def constant(matrix: jax.Array) -> pl.BlockSpec:
        zeros = (0,) * matrix.ndim
        return pl.BlockSpec(matrix.shape, lambda b, step: zeros, pipeline_mode=pl.Buffered(1))

    column = pltpu.VMEM((length, LANES), jnp.float32)
    call = pl.pallas_call(
        functools.partial(_kernel, tiles),
        out_shape=jax.ShapeDtypeStruct(x_BLD.shape, dtype),
        grid=(batch, tiles + 2 * blocks),
        in_specs=[
            pl.BlockSpec((None, rows, width), lambda b, step: (b, jnp.minimum(step, tiles - 1), 0)),
            *map(constant, matrices),
        ],
        out_specs=pl.BlockSpec((None, length, LANES), out_block),
        scratch_shapes=[
            pltpu.VMEM((blocks + 1, length, LANES), jnp.float32),
            pltpu.VMEM((blocks, length, LANES), jnp.float32),
            column,
            column,
        ],
        cost_estimate=cost,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM_BYTES
        ),
        interpret=interpret,
        name="fourier_split",
    )
    return call(x_BLD, *matrices)


def count(length: int, width: int) -> tuple[int, int]:
    """FLOPs per example, and numbers in the matrices."""
    w, (l1, l2) = width // 2, factors(length)
    stages = 2 * l2 * (2 * l1) ** 2 + 2 * l1 * l2 * 2 * l2
    flops = 2 * length * w * (2 * w + LANES) + stages * (w + LANES)
    return flops, w * (2 * w + LANES) + l2 * (2 * l1) ** 2 + 2 * l2**2


def factors(length: int) -> tuple[int, int]:
    """L1 ≤ L2, multiples of 8, as near to each other as can be; L is a multiple of 64."""
    n1, n2 = two_factors(length // 64)
    return 8 * n1, 8 * n2


def _stages(length: int, dtype: jnp.dtype) -> tuple[jax.Array, jax.Array]:
    """[L2, 2·L1, 2·L1] with the twiddle factors, and [L2, 2·L2]; on real part and minus imaginary part.

    Written as one cosine, so that XLA makes them in place: −sin t = cos(t + π/2), sin t = cos(t − π/2).
    """
    l1, l2 = factors(length)
    m, row, column = (jax.lax.broadcasted_iota(jnp.int32, (l2, 2 * l1, 2 * l1), i) for i in range(3))
    quarters = column // l1 - row // l1
    turns = (row % l1) * (column % l1 * l2 + m) + quarters * (length // 4)
    first = jnp.cos(radians(turns % length, length, jnp.dtype(jnp.float32)))
    cos, sin = cos_sin(l2, jnp.dtype(jnp.float32))
    return first.astype(dtype), jnp.concatenate([cos, -sin], 1).astype(dtype)


def _column_step(step: Any, blocks: int) -> tuple[Any, Any]:
    """The block of g and h of a step, the last one first, and whether its mirror image is written."""
    return blocks - 1 - (step >> 1), (step & 1) == 1  # Mosaic has no floor division


def _kernel(
    tiles: int,
    x: Any,
    c_WY: Any,
    s_WW: Any,
    first: Any,
    second: Any,
    y: Any,
    g: Any,
    h: Any,
    f: Any,
    after: Any,
) -> None:
    """Refs: x[rows, D], the matrices, y[L, 128]; scratch.

    g, h: [blocks, L, 128]. f: [L, 128], the block of y in work. after: [L, 128], of which column 0 is the
    column after that block, rows mirrored.
    """
    blocks, dtype = h.shape[0], x.dtype
    tile = pl.program_id(1)
    step = tile - tiles  # of the second phase
    block, is_right = _column_step(step, blocks)
    transform = functools.partial(_transform, first=first, second=second, dtype=dtype)

    @pl.when(step < 0)
    def _() -> None:
        rows = pl.ds(pl.multiple_of(tile * x.shape[0], x.shape[0]), x.shape[0])
        _along_width(x, c_WY, s_WW, g.at[:, rows], h.at[:, rows])

    @pl.when(step == 0)
    def _() -> None:  # column D/2: real, its rows their own mirror image
        after[...] = jnp.zeros_like(after)
        transform(g.at[blocks], after, f)
        after[...] = f[...]

    @pl.when((step >= 0) & ~is_right)
    def _() -> None:
        transform(g.at[block], h.at[block], f)
        y[...] = f[...].astype(dtype)

    @pl.when((step >= 0) & is_right)
    def _() -> None:
        _write_mirrored(f, after, y)


def _along_width(x: Any, c_WY: Any, s_WW: Any, g: Any, h: Any) -> None:
    """Fills rows of g and h."""
    even, nyquist, odd = fold_columns(x[...].astype(jnp.float32))
    g_rows = dot(even, c_WY[...], x.dtype) + nyquist
    h_rows = dot(odd, s_WW[...], x.dtype)
    for part, ref in ((g_rows, g), (h_rows, h)):
        for block in range(ref.shape[0]):
            ref[block] = part[:, block * LANES : (block + 1) * LANES]


def _transform(g: Any, h: Any, f: Any, first: Any, second: Any, dtype: jnp.dtype) -> None:
    """f = Re(F_L (g − ih)), all [L, 128]; overwrites g and h."""
    l2, l1 = first.shape[0], first.shape[1] // 2

    def over_i(ms: list[jax.Array]) -> None:
        rows = [pl.ds(m, l1, stride=l2) for m in ms]
        parts = [jnp.concatenate([g[r, :], h[r, :]], 0) for r in rows]
        results = [dot(first[m], part, dtype) for m, part in zip(ms, parts, strict=True)]
        for r, result in zip(rows, results, strict=True):
            g[r, :], h[r, :] = result[:l1], result[l1:]

    def over_m(cs: list[jax.Array]) -> None:
        rows = [pl.ds(pl.multiple_of(c * l2, 8), l2) for c in cs]
        parts = [jnp.concatenate([g[r, :], h[r, :]], 0) for r in rows]
        for c, part in zip(cs, parts, strict=True):
            f[pl.ds(c, l2, stride=l1), :] = dot(second[...], part, dtype)

    _several_at_once(l2, over_i)
    _several_at_once(l1, over_m)


def _several_at_once(n: int, body: Callable[[list[jax.Array]], None]) -> None:
    """Calls `body` with all indices below n, a multiple of 8, eight at a time."""

    def step(i: jax.Array, _: None) -> None:
        body([i * _AT_ONCE + k for k in range(_AT_ONCE)])

    jax.lax.fori_loop(0, n // _AT_ONCE, step, None)


def _write_mirrored(f: Any, after: Any, y: Any) -> None:
    """Writes f with rows and columns mirrored; its column 0 belongs to the next block, to `after`."""
    count = f.shape[0] // _ROWS

    def chunk(i: jax.Array, _: None) -> None:
        rows = pl.ds(pl.multiple_of(i * _ROWS, _ROWS), _ROWS)
        mirrored = mirror(f[pl.ds(pl.multiple_of((count - 1 - i) * _ROWS, _ROWS), _ROWS), :], 0)
        zeroth = f[pl.ds(pl.multiple_of((count - i) % count * _ROWS, _ROWS), 8), :][:1]
        mirrored = jnp.where(index(mirrored, 0) == 0, zeroth, mirrored)
        part = jnp.where(index(mirrored, 1) == 0, after[rows, :], mirror(mirrored, 1))
        y[rows, :] = part.astype(y.dtype)
        after[rows, :] = mirrored

    jax.lax.fori_loop(0, count, chunk, None)
