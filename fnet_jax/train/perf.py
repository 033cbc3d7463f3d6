"""Arithmetic of a step and what the device could do: for MFU, never for the training itself."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from fnet_jax.core.chips import find_chip
from fnet_jax.core.config import ModelConfig


def peak_flops(device: jax.Device, dtype: str) -> float | None:
    """FLOP/s one device reaches at best in `dtype`, or None where it is not known."""
    chip = find_chip(device.device_kind) if dtype == "bfloat16" else None
    return chip.bf16_flops if chip else None


def mixing_flops(mixer: str, length: int, d_model: int) -> float:
    """Forward FLOPs of one mixing layer on one example of [L, D], counted as the maths needs them.

    Transforms count as a real-input FFT, 2.5 n log2 n, whichever implementation runs; matrix products
    as 2 n m k. So MFU never rises by doing more work than needed.
    """
    tokens = length * d_model
    if mixer in ("fourier", "hartley", "dct"):
        return 2.5 * tokens * math.log2(tokens)
    if mixer == "hadamard":
        return tokens * math.log2(tokens)
    if mixer in ("linear", "random"):
        return 2.0 * tokens * (length + d_model)
    if mixer == "attention":
        return 8.0 * tokens * d_model + 4.0 * tokens * length
    return 0.0


def train_flops_per_example(model: ModelConfig, mixers: tuple[str, ...], predictions: int) -> float:
    """FLOPs of a training step per example: forward, and twice that backward.

    Args:
        model: gives L, D, E, F, V.
        mixers: the mixer of each layer.
        predictions: P.
    """
    length, d, e = model.max_seq_length, model.d_model, model.d_emb
    forward = 2.0 * length * e * d  # hidden_mapping_in
    for mixer in mixers:
        forward += mixing_flops(mixer, length, d) + 4.0 * length * d * model.d_ff
    forward += 2.0 * d * d  # pooler
    forward += 2.0 * predictions * e * (d + model.vocab_size)  # masked LM head
    return 3.0 * forward


class Stopwatch:
    """Wall time since the last `read`, and how much of it each named part took; seconds."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._parts: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside the `with` block for `name`."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._parts[name] = self._parts.get(name, 0.0) + time.perf_counter() - begin

    def read(self) -> tuple[float, dict[str, float]]:
        """Total and parts since the last call; starts anew."""
        now = time.perf_counter()
        total, parts = now - self._start, self._parts
        self._start, self._parts = now, {}
        return total, parts
