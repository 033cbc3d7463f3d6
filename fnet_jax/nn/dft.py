"""The real 2-D discrete Fourier transform, computed in several ways that agree.

Each way gives two maps of x[B, L, D], with F = C − iS, C[j, k] = cos(2πjk/n), S[j, k] = sin(2πjk/n):

    fourier(x) = Re(F_L x F_D)                    = C x C − S x S
    hartley(x) = Re(F_L x F_D) − Im(F_L x F_D)    = C x C − S x S + C x S + S x C

| way    | how                                                        | matrix FLOPs, L = 512, D = 768 |
|--------|------------------------------------------------------------|--------------------------------|
| fft    | library FFT of real input, half the columns by symmetry    | none                           |
| dense  | real matrix products                                       | 2.0 G per example              |
| folded | as dense, on even and odd parts: all matrices half as large | 0.25 G                        |
| split  | dense along D, two short stages along L = L1·L2            | 0.7 G                          |

docs/mixing.md derives them and says where each is fastest. All four treat examples independently and
work for every L and D. Rounding: `matrices.einsum`; sums and differences in float32 at least.

In a product of `dense` and `folded` the data come first, the matrix second: the other way round XLA's TPU
compiler copies the result once more, 109 MB moved in place of 84 for `dense` at 16 x 512 x 768, bfloat16.
"""

import jax
import jax.numpy as jnp

from fnet_jax.nn.matrices import accum_dtype, cos_sin, dct_matrix, einsum

# Factors (a, b) of combinations a·Re f + b·Im f.
Wanted = tuple[tuple[int, int], ...]

# Data times matrix[out, in], along an axis of the data.
_ALONG = {1: "bld,nl->bnd", 2: "bld,ed->ble"}


def fourier_fft(x_BLD: jax.Array) -> jax.Array:
    """By `rfft2`: one library call over both axes, no transposes between."""
    f_BLK = jnp.fft.rfft2(x_BLD.astype(accum_dtype(x_BLD)))
    return _fill_other_half(f_BLK.real, f_BLK.real, x_BLD.shape[-1]).astype(x_BLD.dtype)


def hartley_fft(x_BLD: jax.Array) -> jax.Array:
    """By `rfft2`."""
    f_BLK = jnp.fft.rfft2(x_BLD.astype(accum_dtype(x_BLD)))
    # The other half is the conjugate, so there −Im is +Im of this half.
    return _fill_other_half(f_BLK.real - f_BLK.imag, f_BLK.real + f_BLK.imag, x_BLD.shape[-1]).astype(
        x_BLD.dtype
    )


def fourier_dense(x_BLD: jax.Array) -> jax.Array:
    """By `C x C − S x S`: two products of two matrices each."""
    (c_LL, s_LL), (c_DD, s_DD) = (cos_sin(n, accum_dtype(x_BLD)) for n in x_BLD.shape[1:])
    return _two_products(x_BLD, (c_LL, -s_LL), (c_DD, s_DD))


def hartley_dense(x_BLD: jax.Array) -> jax.Array:
    """By cas(a + b) = cos a·cas b + sin a·cas(−b), cas = cos + sin."""
    (c_LL, s_LL), (c_DD, s_DD) = (cos_sin(n, accum_dtype(x_BLD)) for n in x_BLD.shape[1:])
    return _two_products(x_BLD, (c_LL, s_LL), (c_DD + s_DD, c_DD - s_DD))


def fourier_folded(x_BLD: jax.Array) -> jax.Array:
    """On the parts of x that are even in both indices and odd in both; the mixed parts do not count.

    Both products give one quarter of their result; it is even, or odd, in both indices again.
    """
    _, length, width = x_BLD.shape
    even_BLD, odd_BLD = fold(x_BLD, axis=1)
    cc, ss = _FoldedMatrices(x_BLD, 0, 0), _FoldedMatrices(x_BLD, 1, 1)
    y_even = unfold(cc(fold(even_BLD, axis=2)[0]), None, width, axis=2)
    y_odd = unfold(None, -ss(fold(odd_BLD, axis=2)[1]), width, axis=2)
    return unfold(y_even, y_odd, length, axis=1).astype(x_BLD.dtype)


def hartley_folded(x_BLD: jax.Array) -> jax.Array:
    """As `fourier_folded`, with the two mixed parts as well."""
    _, length, width = x_BLD.shape
    even_BLD, odd_BLD = fold(x_BLD, axis=1)
    (ee, eo), (oe, oo) = fold(even_BLD, axis=2), fold(odd_BLD, axis=2)
    cc, cs, sc, ss = (_FoldedMatrices(x_BLD, i, j) for i in (0, 1) for j in (0, 1))
    y_even = unfold(cc(ee), cs(eo), width, axis=2)
    y_odd = unfold(sc(oe), -ss(oo), width, axis=2)
    return unfold(y_even, y_odd, length, axis=1).astype(x_BLD.dtype)


def fourier_split(x_BLD: jax.Array) -> jax.Array:
    """By two stages along L (Cooley and Tukey 1965), each a matrix product with nothing complex."""
    (y_BLK,) = _split(x_BLD, ((1, 0),))
    return _fill_other_half(y_BLK, y_BLK, x_BLD.shape[-1]).astype(x_BLD.dtype)


def hartley_split(x_BLD: jax.Array) -> jax.Array:
    """As `fourier_split`."""
    y_BLK, mirror_BLK = _split(x_BLD, ((1, -1), (1, 1)))
    return _fill_other_half(y_BLK, mirror_BLK, x_BLD.shape[-1]).astype(x_BLD.dtype)


def dct_dense(x_BLD: jax.Array, axis: int) -> jax.Array:
    """The orthonormal cosine transform of `transforms.dct` along the length or the width (axis 1 or 2)."""
    return einsum(_ALONG[axis], x_BLD, dct_matrix(x_BLD.shape[axis], accum_dtype(x_BLD)).astype(x_BLD.dtype))


def dct_folded(x_BLD: jax.Array, axis: int) -> jax.Array:
    """As `dct_dense`: even rows of T see x[j] + x[n−1−j] only, odd rows x[j] − x[n−1−j]."""
    n = x_BLD.shape[axis]
    m = n // 2
    matrix = dct_matrix(n, accum_dtype(x_BLD)).astype(x_BLD.dtype)
    x = x_BLD.astype(accum_dtype(x_BLD))

    def part(start: int, stop: int) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, stop, axis=axis)

    first, last = part(0, m), jnp.flip(part(n - m, n), axis)
    even = jnp.concatenate([first + last, part(m, n - m)], axis).astype(x_BLD.dtype)
    odd = (first - last).astype(x_BLD.dtype)
    y_even = einsum(_ALONG[axis], even, matrix[0::2, : n - m])
    y_odd = einsum(_ALONG[axis], odd, matrix[1::2, :m])
    y_odd = jnp.pad(y_odd, [(0, n % 2 if i == axis else 0) for i in range(3)])
    y = jnp.stack([y_even, y_odd], axis + 1)  # row 2k from the even rows, row 2k + 1 from the odd ones
    y = y.reshape(*x.shape[:axis], -1, *x.shape[axis + 1 :])
    return jax.lax.slice_in_dim(y, 0, n, axis=axis)


def _fill_other_half(half_BLK: jax.Array, mirror_BLK: jax.Array, width: int) -> jax.Array:
    """Appends columns D//2+1 … D−1, by F[l, D−k] = conj(F[−l mod L, k]).

    Args:
        half_BLK: what to return for columns 0 … D//2.
        mirror_BLK: the same quantity of the conjugate spectrum, same columns.
        width: D.
    """
    mirror_BLK = mirrored(mirror_BLK[:, :, 1 : (width + 1) // 2])
    return jnp.concatenate([half_BLK, mirror_BLK[:, :, ::-1]], axis=-1)


def mirrored(x_BLK: jax.Array) -> jax.Array:
    """Row l from row −l mod L."""
    return jnp.roll(x_BLK[:, ::-1], 1, axis=1)


def _two_products(
    x_BLD: jax.Array, left_LL: tuple[jax.Array, jax.Array], right_DD: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """`left[0] x right[0] + left[1] x right[1]` as two matrix products, each twice as long."""
    h_BZLD = einsum("bld,zde->bzle", x_BLD, jnp.stack(right_DD).astype(x_BLD.dtype))
    return einsum("bzld,znl->bnd", h_BZLD, jnp.stack(left_LL).astype(x_BLD.dtype))


def fold(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Even and odd part of x along one axis of n elements, in `accum_dtype(x)`.

    Returns:
        x[k] + x[n−k] for 0 ≤ k ≤ n/2, where x[0] and, for even n, x[n/2] stand alone; and
        x[k] − x[n−k] for 0 < k < n/2.
    """
    x = x.astype(accum_dtype(x))
    n = x.shape[axis]
    m = (n - 1) // 2

    def part(start: int, stop: int) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, stop, axis=axis)

    first, last = part(1, m + 1), jnp.flip(part(n - m, n), axis)
    return jnp.concatenate([part(0, 1), first + last, part(m + 1, n - m)], axis), first - last


def unfold(even: jax.Array | None, odd: jax.Array | None, n: int, axis: int) -> jax.Array:
    """The whole of n elements from an even part (0 ≤ k ≤ n/2) and an odd one (0 < k < n/2); None is 0."""
    m = (n - 1) // 2
    if odd is None:
        assert even is not None
        mirrored = jax.lax.slice_in_dim(even, 1, m + 1, axis=axis)
        return jnp.concatenate([even, jnp.flip(mirrored, axis)], axis)
    padding = [(0, 0)] * odd.ndim
    padding[axis] = (1, n // 2 - m)
    if even is None:
        return jnp.concatenate([jnp.pad(odd, padding), jnp.flip(-odd, axis)], axis)
    mirrored = jax.lax.slice_in_dim(even, 1, m + 1, axis=axis) - odd
    return jnp.concatenate([even + jnp.pad(odd, padding), jnp.flip(mirrored, axis)], axis)


def quarters(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """C for the even part along an axis, S for the odd one, in the dtype of x."""
    n = x.shape[axis]
    c, s = cos_sin(n, accum_dtype(x), n // 2 + 1, n // 2 + 1)
    inner = slice(1, (n + 1) // 2)
    return c.astype(x.dtype), s[inner, inner].astype(x.dtype)


class _FoldedMatrices:
    """Multiplies a part of x by the matching quarter of C or S on each side.

    Args:
        x_BLD: gives sizes and dtype.
        left, right: 0 for C and an even part, 1 for S and an odd part; along L, along D.
    """

    def __init__(self, x_BLD: jax.Array, left: int, right: int) -> None:
        self._left, self._right = quarters(x_BLD, 1)[left], quarters(x_BLD, 2)[right]

    def __call__(self, part: jax.Array) -> jax.Array:
        h = einsum("bld,de->ble", part.astype(self._right.dtype), self._right)
        return einsum("bld,nl->bnd", h, self._left, keep_wide=True)


def _split(x_BLD: jax.Array, wanted: Wanted) -> jax.Array:
    """As `two_stages`, for columns 0 … D//2 of f = F_L x F_D."""
    width = x_BLD.shape[-1]
    c_DK, s_DK = cos_sin(width, accum_dtype(x_BLD), width, width // 2 + 1)
    h_BZLK = einsum("bld,zdk->bzlk", x_BLD, jnp.stack([c_DK, -s_DK]).astype(x_BLD.dtype))
    return two_stages(h_BZLK, wanted)


def two_stages(h_BZLK: jax.Array, wanted: Wanted) -> jax.Array:
    """a·Re f + b·Im f for each (a, b) of `wanted`, of f = F_L h: [len(wanted), B, L, K].

    With l = L2·a + m and j = c + L1·e, exp(−2πi·l·j/L) = exp(−2πi·l·c/L)·exp(−2πi·m·e/L2): the first
    factor is a product over a for each m, twiddles included, the second one over m.

    Args:
        h_BZLK: letter Z: real and imaginary part.
        wanted: pairs of factors.
    """
    batch, _, length, _ = h_BZLK.shape
    dtype, wider = h_BZLK.dtype, accum_dtype(h_BZLK)
    l1, l2 = _factors(length)
    c, s = (part.reshape(l1, l1, l2) for part in cos_sin(length, wider, l1, length))
    first = jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])]).astype(dtype)  # [out Z, in Z, c, a, m]
    h = einsum("yzcam,bzamk->bycmk", first, h_BZLK.reshape(batch, 2, l1, l2, -1))

    c, s = cos_sin(l2, wider)
    second = jnp.stack([jnp.stack([a * c - b * s, a * s + b * c]) for a, b in wanted]).astype(dtype)
    y = einsum("wzem,bzcmk->wbeck", second, h)
    return y.reshape(len(wanted), batch, length, -1)


def _factors(n: int) -> tuple[int, int]:
    """n = n1·n2 with n1 ≤ n2 as near to each other as can be; 1·n for a prime."""
    n1 = next(i for i in range(int(n**0.5), 0, -1) if n % i == 0)
    return n1, n // n1
