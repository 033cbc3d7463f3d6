"""Matrices of the transforms, built inside the graph from integers, and their products.

A matrix that Python hands over as an array is stored in the compiled program (72 MB at L=4096), so
these are computed where they are used. An angle 2π·j·k/n computed in floating point is wrong once j·k
is large; `j·k mod n` in integers is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np

# The largest n with (n−1)² < 2^32, so that j·k is exact in uint32.
MAX_EXACT_SIZE = 65_536

# A Paley factor is dense and a constant of the program: a larger one would cost more than it is worth.
_MAX_PALEY_ORDER = 512


def accum_dtype(x: jax.Array) -> jnp.dtype:
    """The dtype to add in: float32, or float64 for float64."""
    return jnp.dtype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)


def einsum(equation: str, a: jax.Array, b: jax.Array, *, round_output: bool = True) -> jax.Array:
    """`jnp.einsum` of two arrays of one dtype, at full precision, added in `accum_dtype(a)`.

    Returns:
        The dtype of its inputs; `accum_dtype(a)` where `round_output` is False, for a result that is added to
        others before it is rounded.
    """
    precision = jax.lax.Precision.HIGHEST if a.dtype == accum_dtype(a) else None
    y = jnp.einsum(equation, a, b, precision=precision, preferred_element_type=accum_dtype(a))
    return y.astype(a.dtype) if round_output else y


def cos_sin(
    n: int, dtype: jnp.dtype, rows: int | None = None, columns: int | None = None
) -> tuple[jax.Array, jax.Array]:
    """cos(2πjk/n) and sin(2πjk/n) for 0 ≤ j < rows, 0 ≤ k < columns; both are n where not given.

    Raises:
        ValueError: if n is above `MAX_EXACT_SIZE`.
    """
    rows, columns = n if rows is None else rows, n if columns is None else columns
    # cos and sin of every element would cost a TPU as much as the products with the matrix. Rows
    # j = 32·u + v take them from 32 rows and every 32nd: cos(α + β) = cos α·cos β − sin α·sin β.
    step = 32
    blocks = -(-rows // step)
    (c_u, s_u), (c_v, s_v) = (
        (jnp.cos(angle), jnp.sin(angle))
        for angle in (
            radians(_product_mod(blocks, columns, n, n, step), n, dtype)[:, None],
            radians(_product_mod(step, columns, n, n), n, dtype)[None, :],
        )
    )
    cos, sin = c_u * c_v - s_u * s_v, s_u * c_v + c_u * s_v
    return cos.reshape(-1, columns)[:rows], sin.reshape(-1, columns)[:rows]


def dct_matrix(n: int, dtype: jnp.dtype) -> jax.Array:
    """T[k, j] = s_k·cos(π(2j+1)k/2n) = s_k·cos(2π·((2jk + k) mod 4n)/4n), [n, n]."""
    k = jnp.arange(n, dtype=jnp.uint32)[:, None]
    turns = (2 * _product_mod(n, n, 2 * n, n) + k) % jnp.uint32(4 * n)
    scale = jnp.where(k == 0, jnp.sqrt(1 / n), jnp.sqrt(2 / n)).astype(dtype)
    return scale * jnp.cos(radians(turns, 4 * n, dtype))


def _product_mod(rows: int, columns: int, modulus: int, size: int, factor: int = 1) -> jax.Array:
    """factor·j·k mod `modulus` for 0 ≤ j < rows, 0 ≤ k < columns, exact: uint32[rows, columns].

    Raises:
        ValueError: if `size`, which factor·rows and columns do not exceed by much, is above `MAX_EXACT_SIZE`.
    """
    if size > MAX_EXACT_SIZE:
        raise ValueError(
            f"size {size} is too large for a transform matrix: j·k is exact up to {MAX_EXACT_SIZE}; "
            f"use fourier_impl='fft' or a shorter length"
        )
    j, k = jnp.arange(rows, dtype=jnp.uint32), jnp.arange(columns, dtype=jnp.uint32)
    return (jnp.uint32(factor) * j[:, None] * k[None, :]) % jnp.uint32(modulus)


def radians(turns: jax.Array, n: int, dtype: jnp.dtype) -> jax.Array:
    """2π·turns/n, for integers 0 ≤ turns < n, taken from (−π, π]: half the angle, half the error."""
    centred = turns.astype(jnp.int32)
    centred = jnp.where(centred > n // 2, centred - n, centred)
    return centred.astype(dtype) * jnp.asarray(2 * jnp.pi / n, dtype)


def two_factors(n: int) -> tuple[int, int]:
    """n = n1·n2 with n1 ≤ n2 as near to each other as can be; 1·n for a prime."""
    n1 = next(i for i in range(int(n**0.5), 0, -1) if n % i == 0)
    return n1, n // n1


def hadamard_factors(n: int, dtype: jnp.dtype) -> list[jax.Array]:
    """Symmetric factors whose Kronecker product is H_n (see `hadamard`)."""
    twos = (n & -n).bit_length() - 1
    odd = n >> twos
    factors = []
    if odd > 1:
        orders = [odd << i for i in range(2, twos + 1) if odd << i <= _MAX_PALEY_ORDER]
        order = next((order for order in orders if _is_prime(order - 1)), odd)
        if order == odd:
            cos, sin = cos_sin(odd, dtype)
            factors.append(cos + sin)
        else:
            factors.append(_paley(order - 1).astype(dtype))
            twos -= (order // odd).bit_length() - 1
    while twos > 0:
        # 64 is enough to fill a matrix unit, and small enough to keep the operations near n·log n.
        step = min(twos, 6)
        factors.append(_sylvester(step).astype(dtype))
        twos -= step
    return factors


def _sylvester(k: int) -> jax.Array:
    """The symmetric Hadamard matrix of order 2^k: −1 to the number of bits that i and j share."""
    i = jnp.arange(2**k, dtype=jnp.uint32)
    shared = jax.lax.population_count(i[:, None] & i[None, :])
    return 1 - 2 * (shared % 2).astype(jnp.int32)


def _paley(p: int) -> jax.Array:
    """A symmetric Hadamard matrix of order p + 1, for a prime p with p mod 4 = 3.

    Paley's first construction, [[1, 1], [−1, Q + I]] with Q[i, j] = χ(i − j), χ the Legendre symbol;
    all rows but the first negated, then row i exchanged with row −i mod p. Because χ(−1) = −1 the
    inner part becomes χ(i + j) − [i + j = 0 mod p]: a function of i + j alone, hence symmetric.
    """
    i = np.arange(p)
    chi = np.full(p, -1)
    chi[i * i % p] = 1
    chi[0] = -1  # χ(0) − 1
    return jnp.asarray(np.pad(chi[np.add.outer(i, i) % p], ((1, 0), (1, 0)), constant_values=1))


def _is_prime(p: int) -> bool:
    return p > 1 and all(p % d for d in range(2, int(p**0.5) + 1))
