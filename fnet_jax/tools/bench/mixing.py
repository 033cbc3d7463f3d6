"""Fourier mixing alone: every implementation of this project, and others to compare with."""

import functools
import typing
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from fnet_jax.core.config import FourierImpl
from fnet_jax.nn import transforms
from fnet_jax.nn.matrices import cos_sin
from fnet_jax.tools.bench import plan as plans
from fnet_jax.tools.bench import torch as bench_torch
from fnet_jax.tools.bench.plan import BenchPlan
from fnet_jax.tools.bench.program import floor_seconds, timed_program
from fnet_jax.tools.bench.timing import BenchCase, CaseSetting, TimedProgram, grid
from fnet_jax.train.perf import mixing_flops

Mixing = Callable[[jax.Array], jax.Array]

IMPLS: tuple[str, ...] = typing.get_args(FourierImpl)
TORCH = "torch.fftn"
PASSES = ("forward", "forward+backward")
MIXERS = ("fourier", "hartley", "dct", "hadamard")


def fft2(x_BLD: jax.Array) -> jax.Array:
    """The library's complex transform, of which the real part stays."""
    return jnp.fft.fft2(x_BLD.astype(jnp.float32)).real.astype(x_BLD.dtype)


def complex_matmul(x_BLD: jax.Array) -> jax.Array:
    """`Re(F_L x F_D)` word for word: two complex matrices, complex x (arXiv 2105.03824, section 3.2)."""
    f_LL, f_DD = (jax.lax.complex(c, -s) for c, s in (cos_sin(n, jnp.float32) for n in x_BLD.shape[1:]))
    y_BLD = jnp.einsum("nl,bld,de->bne", f_LL, x_BLD.astype(jnp.complex64), f_DD)
    return y_BLD.real.astype(x_BLD.dtype)


PEERS: dict[str, Mixing] = {"jnp.fft2": fft2, "complex_matmul": complex_matmul}


def plan() -> BenchPlan:
    """Mixing alone."""
    flag = flags.FLAGS
    mixers = plans.known("mixers", flag.mixers or ["fourier"], MIXERS)
    everything = (*IMPLS, *PEERS, TORCH)
    # A kernel for TPUs is interpreted elsewhere.
    usual = [name for name in everything if name != "pallas" or jax.default_backend() == "tpu"]
    impls = plans.known("impls", flag.impls or usual, everything)
    warnings: tuple[str, ...] = ()
    if TORCH in impls and (not flag.peers or plans.missing("torch")):
        impls.remove(TORCH)
        warnings = plans.left_out([TORCH], "torch")
    settings = grid(
        {
            "pass": plans.known("passes", flag.passes, PASSES),
            "dtype": plans.known("dtypes", flag.dtypes or ["float32"], plans.DTYPES),
            "width": plans.numbers("widths", flag.widths),
            **plans.batch_axis([8]),
            "length": plans.numbers("lengths", flag.lengths or [128, 256, 512, 1024, 2048, 4096]),
        }
    )
    return BenchPlan("Mixing alone", settings, names(mixers, impls), _case, "jnp.fft2", warnings=warnings)


def names(mixers: Sequence[str], impls: Sequence[str]) -> list[str]:
    """The names of the cases: that of the implementation for fourier, MIXER or MIXER/IMPL for the others."""
    found = []
    for mixer in mixers:
        if mixer == "fourier":
            found += list(impls)
        elif mixer == "hartley":
            found += [f"hartley/{impl}" for impl in impls if impl in IMPLS]
        else:
            found.append(mixer)
    return found


def _case(setting: CaseSetting, name: str) -> BenchCase:
    length, width, dtype = int(setting["length"]), int(setting["width"]), str(setting["dtype"])
    shape = (batch_of(setting), length, width)
    times = 1 + PASSES.index(str(setting["pass"]))  # the gradient is a transform too
    mixer = next((mixer for mixer in MIXERS if name.startswith(mixer)), "fourier")
    moved = 2 * times * np.prod(shape) * jnp.dtype(dtype).itemsize
    flops = times * shape[0] * mixing_flops(mixer, length, width)
    make = functools.partial(_make, name, shape, dtype, times > 1)
    floor = floor_seconds(flops, float(moved), dtype)
    return BenchCase(name, setting, make, shape[0] * length, flops, floor)


def batch_of(setting: CaseSetting) -> int:
    """B, given as it is or by the number of tokens; one at least."""
    if "batch" in setting:
        return int(setting["batch"])
    return max(1, int(setting["tokens"]) // int(setting["length"]))


def _make(name: str, shape: tuple[int, int, int], dtype: str, backward: bool) -> TimedProgram:
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal(shape, np.float32) for _ in range(2))
    if name == TORCH:
        return bench_torch.fftn(x, g, dtype, backward, jax.devices()[0].platform)
    x_BLD, g_BLD = (jax.device_put(jnp.asarray(a, dtype)) for a in (x, g))
    mixing = _mixing(name)

    def both(x_BLD: jax.Array, g_BLD: jax.Array) -> tuple[jax.Array, jax.Array]:
        y_BLD, vjp = jax.vjp(mixing, x_BLD)
        return y_BLD, vjp(g_BLD)[0]

    note = ""
    if name in ("auto", "hartley/auto"):
        note = "is " + transforms.choose_impl(jax.devices()[0].platform, *shape[1:])
    if backward:
        return timed_program(jax.jit(both), x_BLD, g_BLD, note=note)
    return timed_program(jax.jit(mixing), x_BLD, note=note)


def _mixing(name: str) -> Mixing:
    if name in PEERS:
        return PEERS[name]
    mixer, _, impl = name.rpartition("/")
    if mixer or name in IMPLS:
        transform = {"": transforms.fourier, "hartley": transforms.hartley}[mixer]
        return functools.partial(transform, impl=typing.cast(FourierImpl, impl))
    return {"dct": transforms.dct, "hadamard": transforms.hadamard}[name]
