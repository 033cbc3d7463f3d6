"""Parameter-free token mixing: linear maps of a whole example, x_BLD -> y_BLD, as pure functions.

Every transform here is a product of one matrix along the length and one along the width,
`y = M_L x M_D^T`, or a real part of such a product:

| function | matrices | scaling: output variance for white input of variance 1 |
|---|---|---|
| `fourier`  | Re of the discrete Fourier transform | none, as in the paper: L·D/2 |
| `hartley`  | Re − Im of the same                  | none, as `fourier`: L·D |
| `hadamard` | symmetric, entries ±1                | none, as `fourier`: L·D |
| `dct`      | type-II discrete cosine transform    | orthonormal: 1 |

Arithmetic: float32 (and float64, where enabled) multiplies at full precision. bfloat16 multiplies
bfloat16 matrices and adds in float32; FFTs have no bfloat16 form and run in float32.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from fnet_jax.core.config import FourierImpl
from fnet_jax.core.mesh import per_device
from fnet_jax.nn.matrices import MAX_EXACT_SIZE, cos_sin, dct_matrix, hadamard_factors

# Up to which length the matrix form of the Fourier transform is taken, by backend; else the FFT.
# cpu, gpu: the FFT has fewer operations and good libraries (paper, section 3.2, finds the same).
# tpu: XLA's own estimates of programs compiled for one v5e chip, D=768, in microseconds, matrix
# against FFT: L=512 275 / 1621, L=8192 1254 / 1678. Estimates, not timings; longer was not compiled.
_DFT_UP_TO_LENGTH = {"cpu": 0, "gpu": 0, "tpu": 8192}


def choose_fourier_impl(backend: str, length: int, width: int) -> Literal["fft", "dft"]:
    """What `impl='auto'` means.

    Args:
        backend: as `jax.default_backend()` names it: cpu, gpu, tpu.
        length: L.
        width: D.

    Returns:
        'dft' or 'fft'; 'fft' for backends not in the table.
    """
    fits = max(length, width) <= MAX_EXACT_SIZE
    return "dft" if fits and length <= _DFT_UP_TO_LENGTH.get(backend, 0) else "fft"


def fourier(x_BLD: jax.Array, impl: FourierImpl = "auto") -> jax.Array:
    """FNet mixing: `Re(F_L x F_D)`, the real part of the 2-D discrete Fourier transform.

    F_n[j, k] = exp(−2πi·j·k/n), unscaled (arXiv 2105.03824, section 3.2).

    Args:
        x_BLD: real input: float32, bfloat16 or float64.
        impl: 'fft', 'dft' (two real matrix products, nothing complex) or 'auto'
            (`choose_fourier_impl`).

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: for an unknown `impl`, or 'dft' with L or D above `MAX_EXACT_SIZE`.
    """
    return _fourier_fft(x_BLD) if _resolve(impl, x_BLD) == "fft" else _fourier_dft(x_BLD)


def hartley(x_BLD: jax.Array, impl: FourierImpl = "auto") -> jax.Array:
    """Hartley mixing: `Re(F_L x F_D) − Im(F_L x F_D)`, a real transform that loses no information.

    The same as Σ x[j, k]·cas(2π(j·l/L + k·d/D)) with cas = cos + sin; unscaled (the `H_NET` of
    arXiv 2205.12399). Applied twice it gives L·D·x.

    Args:
        x_BLD: real input: float32, bfloat16 or float64.
        impl: as in `fourier`.

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: as in `fourier`.
    """
    return _hartley_fft(x_BLD) if _resolve(impl, x_BLD) == "fft" else _hartley_dft(x_BLD)


def dct(x_BLD: jax.Array) -> jax.Array:
    """Cosine mixing: the 2-D discrete cosine transform of type II, orthonormal.

    `y = T_L x T_D^T` with T_n[k, j] = s_k·cos(π(2j+1)k/2n), s_0 = √(1/n), else √(2/n): what
    `scipy.fft.dctn(x, norm='ortho')` computes. The first row needs another factor than the rest
    before the matrix is orthogonal at all, so the orthonormal form is the only natural one; the
    gradient then is the inverse transform and keeps its norm.

    Args:
        x_BLD: real input: float32, bfloat16 or float64.

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: if L or D is above `MAX_EXACT_SIZE`.
    """
    _, length, width = x_BLD.shape
    t_LL, t_DD = (dct_matrix(n, _wide(x_BLD)).astype(x_BLD.dtype) for n in (length, width))
    h_BLD = _einsum("bld,ed->ble", x_BLD, t_DD)
    return _einsum("nl,bld->bnd", t_LL, h_BLD)


def hadamard(x_BLD: jax.Array) -> jax.Array:
    """Hadamard mixing: `y = H_L x H_D`, additions and subtractions only where that is possible.

    H_n is symmetric with H_n H_n = n·I and unscaled. It is a Kronecker product of small factors,
    applied one after the other in about n·log n operations:

    - n = 2^k: Sylvester's matrix, the Walsh–Hadamard transform.
    - n = 2^k·m, m odd, and p = 2^i·m − 1 is prime for some 2 ≤ i ≤ k: Paley's matrix of order p + 1
      (at most 512) for the smallest such i, times Sylvester's. 768 = 12·64, 640 = 20·32, 1152 = 72·16.
    - every other n, odd ones included: no Hadamard matrix exists, or none that is so easily built.
      The m×m Hartley matrix cos + sin (2πjk/m) takes the place of Paley's: it too is real,
      symmetric, and squares to m·I; its entries lie in ±√2 instead of being ±1. 6 = 3·2.

    Args:
        x_BLD: real input: float32, bfloat16 or float64; any L, any D.

    Returns:
        y_BLD, same shape and dtype. Applied twice: L·D·x.

    Raises:
        ValueError: if the odd factor m of L or D is above `MAX_EXACT_SIZE`.
    """
    return _hadamard(x_BLD)


def _symmetric(fn: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Declares the linear map `fn` symmetric: its VJP is `fn` itself and needs nothing saved."""
    op = jax.custom_vjp(fn)
    op.defvjp(lambda x: (fn(x), None), lambda _, g: (op(g),))
    return op


@_symmetric
@per_device
def _fourier_fft(x_BLD: jax.Array) -> jax.Array:
    f = _half_spectrum(x_BLD)
    return _fill_other_half(f.real, f.real, x_BLD.shape[-1]).astype(x_BLD.dtype)


@_symmetric
@per_device
def _hartley_fft(x_BLD: jax.Array) -> jax.Array:
    f = _half_spectrum(x_BLD)
    # The other half is the conjugate, so there −Im is +Im of this half.
    return _fill_other_half(f.real - f.imag, f.real + f.imag, x_BLD.shape[-1]).astype(x_BLD.dtype)


def _half_spectrum(x_BLD: jax.Array) -> jax.Array:
    """Columns 0 … D//2 of the 2-D DFT; the others follow from these because x is real."""
    half_BLK = jnp.fft.rfft(x_BLD.astype(_wide(x_BLD)), axis=-1)
    return jnp.fft.fft(half_BLK, axis=-2)


def _fill_other_half(half_BLK: jax.Array, mirror_BLK: jax.Array, width: int) -> jax.Array:
    """Appends columns D//2+1 … D−1, by F[l, D−k] = conj(F[−l mod L, k]).

    Args:
        half_BLK: what to return for columns 0 … D//2.
        mirror_BLK: the same quantity of the conjugate spectrum, same columns.
        width: D.
    """
    mirror_BLK = mirror_BLK[:, :, 1 : (width + 1) // 2]
    mirror_BLK = jnp.roll(mirror_BLK[:, ::-1, ::-1], 1, axis=1)  # row l <- row −l mod L
    return jnp.concatenate([half_BLK, mirror_BLK], axis=-1)


@_symmetric
def _fourier_dft(x_BLD: jax.Array) -> jax.Array:
    # F = C − iS, so Re(F_L x F_D) = C_L x C_D − S_L x S_D.
    (c_LL, s_LL), (c_DD, s_DD) = (cos_sin(n, _wide(x_BLD)) for n in x_BLD.shape[1:])
    return _two_products(x_BLD, (c_LL, -s_LL), (c_DD, s_DD))


@_symmetric
def _hartley_dft(x_BLD: jax.Array) -> jax.Array:
    # cas(a + b) = cos a·cas b + sin a·cas(−b).
    (c_LL, s_LL), (c_DD, s_DD) = (cos_sin(n, _wide(x_BLD)) for n in x_BLD.shape[1:])
    return _two_products(x_BLD, (c_LL, s_LL), (c_DD + s_DD, c_DD - s_DD))


def _two_products(
    x_BLD: jax.Array, left_LL: tuple[jax.Array, jax.Array], right_DD: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """`left[0] x right[0] + left[1] x right[1]` as two matrix products, each twice as long."""
    h_BZLD = _einsum("bld,zde->bzle", x_BLD, jnp.stack(right_DD).astype(x_BLD.dtype))
    return _einsum("znl,bzld->bnd", jnp.stack(left_LL).astype(x_BLD.dtype), h_BZLD)


@_symmetric
def _hadamard(x_BLD: jax.Array) -> jax.Array:
    _, length, width = x_BLD.shape
    y_BLD = _kronecker(x_BLD, length, before=1)
    return _kronecker(y_BLD, width, before=length)


def _kronecker(x: jax.Array, size: int, before: int) -> jax.Array:
    """Multiplies by H_size along the axis of that size that has `before` elements per example before it."""
    shape, after = x.shape, math.prod(x.shape[1:]) // before
    for h in hadamard_factors(size, _wide(x)):
        factor = h.shape[0]
        after //= factor
        x = _einsum("fg,bagz->bafz", h.astype(x.dtype), x.reshape(shape[0], before, factor, after))
        before *= factor
    return x.reshape(shape)


def _resolve(impl: FourierImpl, x_BLD: jax.Array) -> Literal["fft", "dft"]:
    if impl == "auto":
        return choose_fourier_impl(jax.default_backend(), *x_BLD.shape[1:])
    if impl not in ("fft", "dft"):
        raise ValueError(f"fourier_impl={impl!r} is unknown; use one of auto, fft, dft")
    return impl


def _wide(x: jax.Array) -> jnp.dtype:
    """The dtype to accumulate in: float32, or float64 for float64."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def _einsum(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """`jnp.einsum` that accumulates in at least float32 and returns the dtype of its inputs."""
    precision = jax.lax.Precision.HIGHEST if a.dtype == _wide(a) else None
    y = jnp.einsum(equation, a, b, precision=precision, preferred_element_type=_wide(a))
    return y.astype(a.dtype)
