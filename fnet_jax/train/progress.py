"""Metrics of the running training: read from the devices, averaged between two lines, written and printed."""

import contextlib
import math
from collections.abc import Mapping, Sequence

import jax

from fnet_jax.core import config_dict
from fnet_jax.core.errors import MachineError
from fnet_jax.runtime import hosts
from fnet_jax.tasks.metrics import HostSums, Sums, compute, merge, to_host
from fnet_jax.train import perf
from fnet_jax.train.logs.writers import (
    ConsoleWriter,
    JsonlWriter,
    TensorBoardWriter,
    WandbWriter,
    Writer,
    read_jsonl,
)
from fnet_jax.train.setup import Setup

PAUSES = ("restart", "compile", "save", "evaluate")  # parts of the time that do not count for the speed


class DivergedError(ArithmeticError):
    """The loss or the gradient norm is not a finite number."""


class Progress:
    """Reads the sums of each step one step late, refuses what is not finite, writes what is due.

    Attributes:
        repeated_until: the last step that an earlier process of the run had done, as far as the metrics tell.
        evaluated: the steps not after the start that have been evaluated.
    """

    def __init__(self, setup: Setup, start_step: int, stopwatch: perf.Stopwatch):
        config, workdir = setup.config, setup.workdir
        rows = read_jsonl(workdir)
        self.repeated_until = max((row["step"] for row in rows if row["split"] == "train"), default=0)
        evaluated = [row["step"] for row in rows if row["split"] == "eval" and row["step"] <= start_step]
        self.evaluated = set(hosts.broadcast(evaluated))
        self._config, self._num_steps = config, config.train.num_train_steps
        self._stopwatch = stopwatch
        self._pending: tuple[int, Sums] | None = None  # step just dispatched, its sums on the devices
        self._window: HostSums = {}  # sums since the last log line
        self._window_steps = 0
        self._last: HostSums = {}  # sums of the newest step that was read
        self._skipped_in_a_row = 0
        self._warnings: set[str] = set()  # those that were told
        flops = perf.train_flops_per_example(config.model, setup.objective.predictions)
        self._sequences_per_step = setup.objective.sequences * config.train.train_batch_size
        self._flops_per_step = flops * self._sequences_per_step
        peak = perf.peak_flops(jax.devices()[0], config.model.dtype)
        self._peak_flops = peak * jax.device_count() if peak else None
        self._console = ConsoleWriter(start_step, self._num_steps) if hosts.is_primary() else None
        self._writers = self._make_writers(workdir, start_step)

    def _make_writers(self, workdir: str, start_step: int) -> list[Writer]:
        if self._console is None:
            return []
        writers: list[Writer] = [
            self._console,
            JsonlWriter(workdir, start_step),
            TensorBoardWriter(workdir, start_step),
        ]
        if self._config.log.wandb_project:
            values = config_dict.to_dict(self._config)
            writers.append(WandbWriter(workdir, self._config.log.wandb_project, values))
        return writers

    def dispatched(self, step: int, sums: Sums) -> None:
        """Reads the sums of the step before, then takes those of `step`, which is under way."""
        self.read()
        self._pending = (step, sums)

    def read(self) -> None:
        """Reads the sums of the step that was dispatched last, and so waits for it.

        Raises:
            DivergedError: if the loss or the gradient is no finite number and `train.on_nan` is "stop", or
                too many steps in a row were skipped.
            MachineError: if the metrics cannot be written.
        """
        if self._pending is None:
            return
        step, sums = self._pending
        self._pending = None
        self._last = to_host(sums)
        self._refuse_nonfinite(step)
        self._window = merge(self._window, self._last)
        self._window_steps += 1
        if self._console:
            self._console.advance()
        if step % self._config.train.log_frequency == 0 or step == self._num_steps:
            self._log(step)

    def evaluation(self, step: int, values: dict[str, float], warnings: Sequence[str]) -> None:
        """Writes the metrics of an evaluation, and says each warning once."""
        self._write(step, "eval", values)
        self.evaluated.add(step)
        for warning in warnings:
            if warning not in self._warnings:
                self.say(f"note: {warning}")
        self._warnings.update(warnings)

    def end(self, step: int) -> None:
        """Writes and says where the time of the process went."""
        shares = self._stopwatch.shares()
        self._write(step, "time", shares)
        order = sorted(shares.items(), key=lambda item: -item[1])
        self.say("time: " + ", ".join(f"{name} {share:.0%}" for name, share in order))

    def say(self, text: str) -> None:
        """Prints a line, once for all processes."""
        if self._console:
            self._console.say(text)

    def close(self) -> None:
        """Closes the writers; one that could not write may not be able to close either."""
        for writer in self._writers:
            with contextlib.suppress(OSError):
                writer.close()

    def _write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Passes values on to every writer.

        Raises:
            MachineError: if one cannot write.
        """
        for writer in self._writers:
            try:
                writer.write(step, split, values)
            except OSError as error:
                raise MachineError(
                    f"metrics of step {step} could not be written ({type(writer).__name__}: {error.strerror})"
                ) from error

    def _refuse_nonfinite(self, step: int) -> None:
        train = self._config.train
        skipped = self._last.get("skipped_steps", (0.0, 1.0))[0] > 0
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row >= train.max_skipped_steps:
            raise DivergedError(
                f"{self._skipped_in_a_row} steps in a row up to step {step} had no finite loss or gradient"
            )
        for name in ("loss", "grad_norm"):
            if not math.isfinite(self._last[name][0]):
                raise DivergedError(f"{name} is {self._last[name][0]} at step {step}")

    def _log(self, step: int) -> None:
        """Writes means over the window since the last line, and its speed without pauses."""
        parts = self._stopwatch.read()
        busy = max(sum(seconds for name, seconds in parts.items() if name not in PAUSES), 1e-9)
        examples = self._window_steps * self._config.train.train_batch_size
        rate = examples / busy
        values = compute(self._window)
        if "skipped_steps" in values:
            values["skipped_steps"] = self._window["skipped_steps"][0]
        values["learning_rate"] = self._last["learning_rate"][0]
        values["examples_per_second"] = rate
        sequences = self._window_steps * self._sequences_per_step
        values["tokens_per_second"] = sequences * self._config.model.max_seq_length / busy
        values["data_wait_share"] = parts.get("data", 0.0) / busy
        if self._peak_flops:
            values["mfu"] = self._flops_per_step * self._window_steps / busy / self._peak_flops
        values["eta_minutes"] = (self._num_steps - step) * busy / self._window_steps / 60
        values["goodput"] = self._stopwatch.shares().get("steps", 0.0)
        self._write(step, "train", values)
        self._window, self._window_steps = {}, 0
