"""What a step costs and where the time of a run goes: FLOPs, seconds, profiles."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from fnet_jax.core.chips import find_chip
from fnet_jax.core.config import LogConfig, ModelConfig
from fnet_jax.nn.encoder import layer_mixers


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


def train_flops_per_example(model: ModelConfig, predictions: int) -> float:
    """FLOPs of a training step per example: forward, and twice that backward.

    Args:
        model: gives L, D, E, F, V and the mixer of each layer.
        predictions: P.
    """
    length, d, e = model.max_seq_length, model.d_model, model.d_emb
    forward = 2.0 * length * e * d  # hidden_mapping_in
    for mixer in layer_mixers(model):
        forward += mixing_flops(mixer, length, d) + 4.0 * length * d * model.d_ff
    forward += 2.0 * d * d  # pooler
    forward += 2.0 * predictions * e * (d + model.vocab_size)  # masked LM head
    return 3.0 * forward


class Stopwatch:
    """Gives every second of the process to one part: that of the innermost `part` block, else "restart"."""

    def __init__(self, start: float | None = None, entered: Callable[[str], object] = lambda name: None):
        """Starts to count.

        Args:
            start: of the process, as `time.perf_counter()` gave it; now by default.
            entered: called with the name of each part when it begins.
        """
        self._since = time.perf_counter() if start is None else start
        self._now = "restart"
        self._seconds: dict[str, float] = {}
        self._read: dict[str, float] = {}
        self._entered = entered

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time inside the `with` block, less that of blocks in it, for `name`."""
        outer = self._now
        self._enter(name)
        try:
            yield
        finally:
            self._enter(outer)

    def read(self) -> dict[str, float]:
        """Seconds of each part since the last call."""
        self._enter(self._now)
        before, self._read = self._read, dict(self._seconds)
        return {name: seconds - before.get(name, 0.0) for name, seconds in self._seconds.items()}

    def shares(self) -> dict[str, float]:
        """Share of each part in the time since the start; they add up to 1."""
        self._enter(self._now)
        total = sum(self._seconds.values())
        return {name: seconds / total for name, seconds in self._seconds.items()}

    def _enter(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[self._now] = self._seconds.get(self._now, 0.0) + now - self._since
        self._since = now
        if name != self._now:
            self._now = name
            self._entered(name)


class ProfileWindow:
    """Writes WORKDIR/profile for `profile_steps` steps from `profile_start` on; never where that is 0."""

    def __init__(self, log: LogConfig, workdir: str, say: Callable[[str], None]):
        self._log, self._folder, self._say = log, os.path.join(workdir, "profile"), say
        self._open = False

    def at(self, step: int, state: Any) -> None:
        """Opens or closes the window if that is due before the step that follows `step`."""
        start = self._log.profile_start
        if start and step == start:
            jax.profiler.start_trace(self._folder)
            self._open = True
        elif start and step == start + self._log.profile_steps:
            self.close(state)

    def close(self, state: Any) -> None:
        """Closes the window if it is open, also where a run ends inside it; waits for `state`."""
        if self._open:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._open = False
            self._say(f"profile: {self._folder}; look at it with TensorBoard or Perfetto")
