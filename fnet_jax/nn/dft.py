"""The real 2-D discrete Fourier transform, by four implementations that agree.

With F = C − iS, C[j, k] = cos(2πjk/n), S[j, k] = sin(2πjk/n), the spectrum f = F_L x F_D of x[B, L, D] has

    Re f = C x C − S x S          Im f = −(C x S + S x C)

Each function here computes y = a·Re f + b·Im f, for weights (a, b) that are 1, −1 or 0: `FOURIER` is Re f,
`HARTLEY` is Re f − Im f. What has weight 0 is not computed.

| function | how                                                        | matrix FLOPs, L = 512, D = 768 |
|----------|------------------------------------------------------------|--------------------------------|
| `fft`    | library FFT of real input, half the columns by symmetry    | none                           |
| `dense`  | real matrix products (`fourier_impl='dft'`)                | 2.0 G per example              |
| `folded` | as dense, on even and odd parts: all matrices half as large | 0.25 G; `HARTLEY` 0.5 G       |
| `split`  | dense along D, two short stages along L = L1·L2            | 0.7 G                          |

docs/mixing.md derives them and says where each is fastest. All four treat examples independently, work for
every L and D, and return the dtype of x. Products round as `matrices.einsum`; sums and differences are taken
in float32 at least.

In a product of `dense` and `folded` the data come first, the matrix second: the other way round XLA's TPU
compiler copies the result once more, 109 MB moved in place of 84 for `dense` at 16 x 512 x 768, bfloat16.
"""

import functools

import jax
import jax.numpy as jnp

from fnet_jax.nn.matrices import accum_dtype, cos_sin, dct_matrix, einsum, two_factors

# Weights (a, b) of y = a·Re f + b·Im f. Column D − k of f is the conjugate of column k, rows mirrored; hence
# column D − k of y is made from column k of f with weights (a, −b).
Weights = tuple[int, int]
FOURIER: Weights = (1, 0)
HARTLEY: Weights = (1, -1)

# Data times matrix[out, in], along an axis of the data.
_ALONG = {1: "bld,nl->bnd", 2: "bld,ed->ble"}


def weighted(weights: Weights, u: jax.Array, v: jax.Array) -> jax.Array:
    """a·u + b·v, without the terms of weight 0."""
    first, *others = (w * part for w, part in zip(weights, (u, v), strict=True) if w)
    return sum(others, first)


def weighted_matrices(weights: Weights, c: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a·C − b·S for the real part of h, and a·S + b·C for the imaginary one.

    The two products add to a·Re(F h) + b·Im(F h).
    """
    a, b = weights
    return weighted((a, -b), c, s), weighted((b, a), c, s)


def fft(x_BLD: jax.Array, weights: Weights) -> jax.Array:
    """By `rfft2`: one library call over both axes, no transposes between."""
    a, b = weights
    f_BLY = jnp.fft.rfft2(x_BLD.astype(accum_dtype(x_BLD)))
    y_BLY, mirror_BLY = (weighted(w, f_BLY.real, f_BLY.imag) for w in (weights, (a, -b)))
    return _fill_other_half(y_BLY, mirror_BLY, x_BLD.shape[-1]).astype(x_BLD.dtype)


def dense(x_BLD: jax.Array, weights: Weights) -> jax.Array:
    """By C x (a·C − b·S) − S x (a·S + b·C): two matrix products, each with two matrices side by side."""
    (c_LL, s_LL), (c_DD, s_DD) = (cos_sin(n, accum_dtype(x_BLD)) for n in x_BLD.shape[1:])
    right_ZDD = jnp.stack(weighted_matrices(weights, c_DD, s_DD)).astype(x_BLD.dtype)
    h_BZLD = einsum("bld,zde->bzle", x_BLD, right_ZDD)
    return einsum("bzld,znl->bnd", h_BZLD, jnp.stack([c_LL, -s_LL]).astype(x_BLD.dtype))


def folded(x_BLD: jax.Array, weights: Weights) -> jax.Array:
    """On the parts of x that are even or odd along each axis: C sees the even part only, S the odd one.

    Each product gives one quarter of its result, which is even or odd along each axis again. With b = 0 the
    two parts that are even along one axis and odd along the other do not count.
    """
    _, length, width = x_BLD.shape
    a, b = weights
    parts = [fold(half_BLD, axis=2) for half_BLD in fold(x_BLD, axis=1)]

    def rows(left: int, for_even: int, for_odd: int) -> jax.Array:
        """One half of y, even (left = 0) or odd along L, whole along D."""
        even, odd = (
            w * _folded_product(part, x_BLD, left, right) if w else None
            for right, (part, w) in enumerate(zip(parts[left], (for_even, for_odd), strict=True))
        )
        return unfold(even, odd, width, axis=2)

    return unfold(rows(0, a, -b), rows(1, -b, -a), length, axis=1).astype(x_BLD.dtype)


def split(x_BLD: jax.Array, weights: Weights) -> jax.Array:
    """By two stages along L (Cooley and Tukey 1965), each a matrix product with nothing complex."""
    width = x_BLD.shape[-1]
    c_DY, s_DY = cos_sin(width, accum_dtype(x_BLD), width, width // 2 + 1)
    h_BZLY = einsum("bld,zdk->bzlk", x_BLD, jnp.stack([c_DY, -s_DY]).astype(x_BLD.dtype))
    return _fill_other_half(*two_stages(h_BZLY, weights), width).astype(x_BLD.dtype)


def dct_dense(x_BLD: jax.Array, axis: int) -> jax.Array:
    """The orthonormal cosine transform of `transforms.dct` along the length or the width (axis 1 or 2)."""
    return einsum(_ALONG[axis], x_BLD, dct_matrix(x_BLD.shape[axis], accum_dtype(x_BLD)).astype(x_BLD.dtype))


def dct_folded(x_BLD: jax.Array, axis: int) -> jax.Array:
    """As `dct_dense`: even rows of T see x[j] + x[n−1−j] only, odd rows x[j] − x[n−1−j]."""
    n = x_BLD.shape[axis]
    m = n // 2
    matrix = dct_matrix(n, accum_dtype(x_BLD)).astype(x_BLD.dtype)
    x = x_BLD.astype(accum_dtype(x_BLD))
    part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    first, last = part(0, m), jnp.flip(part(n - m, n), axis)
    even = jnp.concatenate([first + last, part(m, n - m)], axis).astype(x_BLD.dtype)
    odd = (first - last).astype(x_BLD.dtype)
    y_even = einsum(_ALONG[axis], even, matrix[0::2, : n - m])
    y_odd = einsum(_ALONG[axis], odd, matrix[1::2, :m])
    y_odd = jnp.pad(y_odd, [(0, n % 2 if i == axis else 0) for i in range(3)])
    y = jnp.stack([y_even, y_odd], axis + 1)  # row 2k from the even rows, row 2k + 1 from the odd ones
    y = y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return jax.lax.slice_in_dim(y, 0, n, axis=axis)


def _fill_other_half(half_BLY: jax.Array, mirror_BLY: jax.Array, width: int) -> jax.Array:
    """Appends columns D//2+1 … D−1, by f[l, D−k] = conj(f[−l mod L, k]).

    Args:
        half_BLY: y in columns 0 … D//2.
        mirror_BLY: the same made from the conjugate of f, that is, with weights (a, −b).
        width: D.
    """
    upper_BLY = mirror_rows(mirror_BLY[:, :, 1 : (width + 1) // 2])
    return jnp.concatenate([half_BLY, upper_BLY[:, :, ::-1]], axis=-1)


def mirror_rows(x_BLD: jax.Array) -> jax.Array:
    """Row l from row −l mod L, of any number of columns."""
    return jnp.roll(x_BLD[:, ::-1], 1, axis=1)


def fold(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Even and odd part of x along one axis of n elements, in `accum_dtype(x)`.

    Returns:
        x[k] + x[n−k] for 0 ≤ k ≤ n/2, where x[0] and, for even n, x[n/2] stand alone; and
        x[k] − x[n−k] for 0 < k < n/2.
    """
    x = x.astype(accum_dtype(x))
    n = x.shape[axis]
    m = (n - 1) // 2
    part = functools.partial(jax.lax.slice_in_dim, x, axis=axis)
    first, last = part(1, m + 1), jnp.flip(part(n - m, n), axis)
    return jnp.concatenate([part(0, 1), first + last, part(m + 1, n - m)], axis), first - last


def unfold(even: jax.Array | None, odd: jax.Array | None, n: int, axis: int) -> jax.Array:
    """The whole of n elements from an even part (0 ≤ k ≤ n/2) and an odd one (0 < k < n/2); None is 0."""
    m = (n - 1) // 2
    lower, upper = [], []  # terms of elements 0 … n/2, and of those above n/2 from the last one down
    if even is not None:
        lower.append(even)
        upper.append(jax.lax.slice_in_dim(even, 1, m + 1, axis=axis))
    if odd is not None:
        padding = [(1, n // 2 - m) if i == axis else (0, 0) for i in range(odd.ndim)]
        lower.append(jnp.pad(odd, padding))
        upper.append(-odd)
    first, last = (functools.reduce(jnp.add, terms) for terms in (lower, upper))
    return jnp.concatenate([first, jnp.flip(last, axis)], axis)


def quarters(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """C for the even part of x along an axis, S for the odd one, as `fold` makes them, in the dtype of x."""
    n = x.shape[axis]
    c, s = cos_sin(n, accum_dtype(x), n // 2 + 1, n // 2 + 1)
    inner = slice(1, (n + 1) // 2)
    return c.astype(x.dtype), s[inner, inner].astype(x.dtype)


def _folded_product(part: jax.Array, x_BLD: jax.Array, left: int, right: int) -> jax.Array:
    """A part of x times the quarters that match it: 0 for C and an even part, 1 for S and an odd one.

    Args:
        part: of x, folded along both axes.
        x_BLD: the whole, for its sizes and dtype.
        left, right: which quarter, along L and along D.
    """
    h = einsum("bld,de->ble", part.astype(x_BLD.dtype), quarters(x_BLD, 2)[right])
    return einsum("bld,nl->bnd", h, quarters(x_BLD, 1)[left], round_output=False)


def two_stages(h_BZLY: jax.Array, weights: Weights) -> tuple[jax.Array, jax.Array]:
    """y and its mirror image: a·Re f + b·Im f and a·Re f − b·Im f, of f = F_L h.

    With l = L2·i + m and j = c + L1·e, exp(−2πi·l·j/L) = exp(−2πi·l·c/L)·exp(−2πi·m·e/L2): the first
    factor is a product over i for each m, twiddles included, the second one over m.

    Args:
        h_BZLY: Z: real and imaginary part. Any number of columns.
        weights: (a, b).

    Returns:
        Two arrays [B, L, Y]; the same one twice where b is 0.
    """
    batch, _, length, _ = h_BZLY.shape
    dtype, wider = h_BZLY.dtype, accum_dtype(h_BZLY)
    l1, l2 = two_factors(length)
    c, s = (part.reshape(l1, l1, l2) for part in cos_sin(length, wider, l1, length))
    first = jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])]).astype(dtype)  # [out Z, in Z, c, i, m]
    h = einsum("yzcim,bzimk->bycmk", first, h_BZLY.reshape(batch, 2, l1, l2, -1))

    a, b = weights
    c, s = cos_sin(l2, wider)
    wanted = [weights, (a, -b)] if b else [weights]
    second = jnp.stack([jnp.stack(weighted_matrices(w, c, s)) for w in wanted]).astype(dtype)
    y = einsum("wzem,bzcmk->wbeck", second, h).reshape(len(wanted), batch, length, -1)
    return y[0], y[-1]
