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

import functools
import math
from collections.abc import Callable, Mapping

import jax

from fnet_jax.core.config import FourierImpl
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import num_shards
from fnet_jax.nn import dft, dft_sharded
from fnet_jax.nn.kernels import fourier_tpu
from fnet_jax.nn.matrices import MAX_EXACT_SIZE, accum_dtype, einsum, hadamard_factors
from fnet_jax.nn.parallel import shard_map_batch, with_whole_sequences

Transform = Callable[[jax.Array], jax.Array]

# What `impl='auto'` takes, by platform: the first row whose length L is not exceeded.
# cpu: fft measured fastest at every length tried, docs/bench/mixing-cpu.md.
# cuda, rocm: fft by the paper's finding (section 3.2) that the FFT is faster on GPUs; not measured here.
# tpu: XLA's estimates for one v5e chip, docs/mixing.md; estimates, not timings.
_AUTO: dict[str, tuple[tuple[FourierImpl, float], ...]] = {
    "cpu": (("fft", math.inf),),
    "cuda": (("fft", math.inf),),
    "rocm": (("fft", math.inf),),
    "tpu": (("dft", 1024), ("split", math.inf)),
}


def _symmetric(fn: Transform) -> Transform:
    """Declares the linear map `fn` symmetric: its VJP is `fn` itself and needs nothing saved."""
    op = jax.custom_vjp(fn)
    op.defvjp(lambda x: (fn(x), None), lambda _, g: (op(g),))
    return op


def choose_impl(platform: str, length: int, width: int) -> FourierImpl:
    """What `impl='auto'` means, for `fourier` and `hartley` alike.

    Args:
        platform: as a device names it: cpu, cuda, rocm, tpu; 'gpu' means cuda.
        length, width: L and D.

    Returns:
        A valid `impl` other than 'auto'; 'fft' for platforms not in the table.
    """
    rows = _AUTO.get({"gpu": "cuda"}.get(platform, platform), ())
    fits = max(length, width) <= MAX_EXACT_SIZE
    return next((impl for impl, up_to in rows if fits and length <= up_to), "fft")


def fourier(x_BLD: jax.Array, impl: FourierImpl = "auto") -> jax.Array:
    """FNet mixing: `Re(F_L x F_D)`, the real part of the 2-D discrete Fourier transform.

    F_n[j, k] = exp(−2πi·j·k/n), unscaled (arXiv 2105.03824, section 3.2). The operator is symmetric, so
    the backward pass is the same operator and saves nothing.

    Args:
        x_BLD: float32, bfloat16 or float64.
        impl: which implementation, see `nn/dft.py`; 'auto' chooses for the platform that is compiled for, see
            `choose_impl`.

    Returns:
        y_BLD, same shape and dtype.

    Raises:
        ValueError: for an unknown `impl`, or one that cannot serve L or D.
    """
    return _discrete_fourier(x_BLD, dft.FOURIER, impl)


def hartley(x_BLD: jax.Array, impl: FourierImpl = "auto") -> jax.Array:
    """Hartley mixing: `Re(F_L x F_D) − Im(F_L x F_D)`, a real transform that loses no information.

    The same as Σ x[j, k]·cas(2π(j·l/L + k·d/D)) with cas = cos + sin; unscaled (the `H_NET` of
    arXiv 2205.12399). Applied twice it gives L·D·x. Arguments, result and errors as `fourier`.
    """
    return _discrete_fourier(x_BLD, dft.HARTLEY, impl)


def dct(x_BLD: jax.Array) -> jax.Array:
    """Cosine mixing: the 2-D discrete cosine transform of type II, orthonormal; y_BLD in the dtype of x.

    `y = T_L x T_D^T` with T_n[k, j] = s_k·cos(π(2j+1)k/2n), s_0 = √(1/n), else √(2/n): what
    `scipy.fft.dctn(x, norm='ortho')` computes. The first row needs another factor than the rest
    before the matrix is orthogonal at all, so the orthonormal form is the only natural one; the
    gradient then is the inverse transform and keeps its norm.

    Raises:
        ValueError: if L or D is above `MAX_EXACT_SIZE`.
    """
    return with_whole_sequences(functools.partial(_dct_along, 1), _dct_along(2, x_BLD))


def _dct_along(axis: int, x: jax.Array) -> jax.Array:
    # Folding: measured 1.5 times as fast as the dense form on a CPU, docs/mixing.md; elsewhere unknown.
    folded, dense = (functools.partial(impl, axis=axis) for impl in (dft.dct_folded, dft.dct_dense))
    return jax.lax.platform_dependent(x, cpu=folded, default=dense)


@_symmetric
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

    Applied twice it gives L·D·x. y_BLD has the dtype of x.

    Raises:
        ValueError: if the odd factor m of L or D is above `MAX_EXACT_SIZE`.
    """
    _, length, width = x_BLD.shape
    along_length = functools.partial(_kronecker, size=length, before=1)
    return with_whole_sequences(along_length, _kronecker(x_BLD, width, before=length))


def _kronecker(x: jax.Array, size: int, before: int) -> jax.Array:
    """Multiplies by H_size along the axis of that size that has `before` elements per example before it."""
    shape, after = x.shape, math.prod(x.shape[1:]) // before
    for h in hadamard_factors(size, accum_dtype(x)):
        factor = h.shape[0]
        after //= factor
        x = einsum("fg,bagz->bafz", h.astype(x.dtype), x.reshape(shape[0], before, factor, after))
        before *= factor
    return x.reshape(shape)


def _kernel(x_BLD: jax.Array) -> jax.Array:
    """The TPU's kernel; elsewhere interpreted, which is exact and slow."""
    interpreted = functools.partial(fourier_tpu.fourier, interpret=True)
    return jax.lax.platform_dependent(x_BLD, tpu=fourier_tpu.fourier, default=interpreted)


@functools.cache
def _implementations(weights: dft.Weights, sharded: bool) -> Mapping[FourierImpl, Transform]:
    """All that compute a·Re f + b·Im f, see `dft.py`, by name; `sharded`: where positions are sharded."""
    found: dict[FourierImpl, Transform]
    if sharded:
        found = {
            impl: functools.partial(dft_sharded.transform, weights=weights, impl=impl)
            for impl in dft_sharded.IMPLEMENTATIONS
        }
    else:
        fft, dense, folded, split = (
            functools.partial(fn, weights=weights) for fn in (dft.fft, dft.dense, dft.folded, dft.split)
        )
        # XLA's partitioner gathers the whole batch for an FFT or a kernel: those run on each device's shard.
        found = {"fft": shard_map_batch(fft), "dft": dense, "folded": folded, "split": split}
        if weights == dft.FOURIER:
            found["pallas"] = shard_map_batch(_kernel)
    return {impl: _symmetric(fn) for impl, fn in found.items()}


def _discrete_fourier(x_BLD: jax.Array, weights: dft.Weights, impl: FourierImpl) -> jax.Array:
    sharded = num_shards("length") > 1
    implementations = _implementations(weights, sharded)
    if sharded and (reason := dft_sharded.why_unsupported(x_BLD.shape[-1])):
        raise UserError(f"positions cannot be divided: {reason}")
    if impl == "auto":
        return _for_platform(implementations, x_BLD)
    if impl not in implementations:
        where = "with mesh.seq above 1" if sharded else "here"
        raise UserError(
            f"fourier_impl={impl!r} is not among the ways {where}: auto, {', '.join(implementations)}"
        )
    if impl == "pallas" and (reason := fourier_tpu.why_unsupported(*x_BLD.shape[1:])):
        raise UserError(f"fourier_impl='pallas' cannot serve this model: {reason}; fourier_impl='auto' can")
    return implementations[impl](x_BLD)


def _for_platform(implementations: Mapping[FourierImpl, Transform], x_BLD: jax.Array) -> jax.Array:
    """Takes `choose_impl` when the program is lowered: right also when one compiles for another machine."""
    by_platform = {name: choose_impl(name, *x_BLD.shape[1:]) for name in _AUTO}
    if len(set(by_platform.values())) == 1:
        return implementations[by_platform["cpu"]](x_BLD)
    branches = {name: implementations[impl] for name, impl in by_platform.items()}
    auto = _symmetric(lambda x: jax.lax.platform_dependent(x, **branches, default=implementations["fft"]))
    return auto(x_BLD)
