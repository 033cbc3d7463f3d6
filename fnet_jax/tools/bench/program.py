"""Runs compiled JAX functions for the benchmark."""

import time
from collections.abc import Callable
from typing import Any

import jax

from fnet_jax.core.chips import find_chip
from fnet_jax.tools.bench.timing import TimedProgram
from fnet_jax.train.memory import peak_bytes
from fnet_jax.train.perf import peak_flops


def timed_program(function: jax.stages.Wrapped, *args: Any, note: str = "") -> TimedProgram:
    """Compiles `function(*args)`, which donates nothing; the arguments lie on the device already."""
    compiled, seconds = compile_timed(function, *args)
    return TimedProgram(
        lambda calls: repeat(lambda: compiled(*args), calls),
        memory=peak_bytes(compiled, jax.default_backend()),
        compile_seconds=seconds,
        note=note,
    )


def repeat(call: Callable[[], Any], calls: int) -> None:
    """Calls a function that starts work on the device so many times, and waits for all of it."""
    # A GPU or TPU does one program after the other, so it can be given the next one early. The CPU would
    # work on several at a time.
    each = jax.devices()[0].platform == "cpu"
    for _ in range(calls):
        result = call()
        if each:
            jax.block_until_ready(result)
    jax.block_until_ready(result)


def compile_timed(function: jax.stages.Wrapped, *args: Any) -> tuple[jax.stages.Compiled, float]:
    """The compiled function, and the seconds that tracing, lowering and compiling took."""
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    return compiled, time.perf_counter() - start


def floor_seconds(flops: float, num_bytes: float, dtype: str) -> float | None:
    """The roofline of this device: what must be computed or moved, at its peak; None where that is not known.

    Arithmetic counts in bfloat16 only, whose peak is known.
    """
    device = jax.devices()[0]
    chip = find_chip(device.device_kind)
    if chip is None:
        return None
    return max(flops / (peak_flops(device, dtype) or float("inf")), num_bytes / chip.hbm_bandwidth) or None
