"""A training process of the drill: started, killed at a random moment, and what it must leave behind."""

import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.runtime.lock import last_holder

_ROOT = pathlib.Path(__file__).parents[3]  # of the checkout; tests.conftest needs pytest
_SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")
_TIMEOUT = 300.0  # seconds for a start to reach its phase, and for a stopped trainer to be gone

# Phase -> seconds that it may have lasted when the signal comes. "start" is before the trainer has its lock,
# "save" includes the writing in the background.
_DELAYS = {"start": 3.0, "prepare": 1.5, "compile": 4.0, "steps": 0.25, "evaluate": 0.02, "save": 0.06}
PHASES = ("steps", "save", "evaluate", "compile", "steps", "save", "evaluate", "start", "steps", "prepare")
BEFORE_TRAINING = ("start", "prepare", "restart")


@dataclasses.dataclass
class Kill:
    """How a training process was killed.

    Attributes:
        aimed: the phase in which it was to be killed.
        phase: the one in which it was; "done" if it had ended before.
        signal: name of the signal.
        code: exit code of the process.
        seconds: from the signal to the end.
        half_written: whether it left a half-written checkpoint.
        steps_lost: steps after the newest complete checkpoint, which the next process repeats.
        damage: what was then done to the newest checkpoint; "" for nothing.
    """

    aimed: str
    phase: str
    signal: str
    code: int
    seconds: float
    half_written: bool = False
    steps_lost: int = 0
    damage: str = ""

    def __str__(self) -> str:
        """What happened, in words."""
        return f"{self.signal} in {self.phase} (exit code {self.code}, {self.seconds:.1f} s)"


class Trainer:
    """A training process; what it prints is appended to OUT/train.log."""

    def __init__(self, workdir: str, out: str, config: dict[str, object], cached: bool = True):
        """Starts it.

        Args:
            workdir: of the run.
            out: of the drill.
            config: keys over the smoke config.
            cached: whether it may use the drill's compilation cache.
        """
        self._log = os.path.join(out, "train.log")
        self._workdir, self._checkpoints = workdir, os.path.join(workdir, CHECKPOINT_DIR)
        command = [
            sys.executable,
            *("-m", "fnet_jax.tools.train"),
            "--config=configs/pretrain.py:smoke",
            f"--workdir={workdir}",
            *(f"--config.{key}={value}" for key, value in config.items()),
        ]
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "JAX_ENABLE_COMPILATION_CACHE": str(cached).lower(),
            "JAX_COMPILATION_CACHE_DIR": os.path.join(out, "cache"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self._begin = time.monotonic()
        with open(self._log, "a", encoding="utf-8") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self) -> tuple[int, str]:
        """Its exit code, when it has ended by itself, and the last line that it printed."""
        return self._process.wait(), self._last_line()

    def kill(self, phase: str, rng: random.Random) -> Kill:
        """Sends it a random signal at a random moment of a phase, and waits until it has ended."""
        number = signal.Signals[rng.choice(_SIGNALS)]
        delay = rng.uniform(0, _DELAYS[phase])
        while self._process.poll() is None and not self._is_in(phase):
            time.sleep(0.002)
            if time.monotonic() - self._begin > _TIMEOUT:
                break
        time.sleep(delay)
        at, began = self._phase(), time.monotonic()
        self._process.send_signal(number)
        try:
            code = self._process.wait(_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        over = "done" if code == 0 else self._phase() if number == signal.SIGKILL else at
        return Kill(phase, over, number.name, code, time.monotonic() - began, self._is_half_written())

    def faults(self, kill: Kill) -> list[str]:
        """What was wrong with the way it ended."""
        number = signal.Signals[kill.signal]
        valid = {-number} if number == signal.SIGKILL else {128 + number}
        if kill.phase == "start":
            valid.add(-number)  # Python itself was still starting
        found = []
        if kill.phase != "done" and kill.code not in valid:
            found.append(f"exit code not in {sorted(valid)}: {self._last_line()}")
        if kill.seconds > _TIMEOUT:
            found.append("it did not stop")
        return found

    def _is_in(self, phase: str) -> bool:
        if phase == "start":
            return True
        if phase == "save" and self._is_half_written():
            return self._phase() not in BEFORE_TRAINING
        return self._phase() == phase

    def _is_half_written(self) -> bool:
        """Whether there is a checkpoint that is being written, or was when its process was killed."""
        return any("tmp" in name for name in _listdir(self._checkpoints))

    def _phase(self) -> str:
        """What the trainer does, as it says in its lock; "start" before it has one."""
        holder = last_holder(self._workdir)
        return holder["phase"] if holder.get("pid") == self._process.pid else "start"

    def _last_line(self) -> str:
        with open(self._log, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            return (log.read().strip().splitlines() or [""])[-1]


def damage_newest(workdir: str, rng: random.Random) -> str:
    """Flips a bit of a file of the newest checkpoint, or cuts or deletes that file, if there is an older one.

    Returns:
        What was done; "" for nothing.
    """
    folder = os.path.join(workdir, CHECKPOINT_DIR)
    steps = sorted(int(name) for name in _listdir(folder) if re.fullmatch(r"\d+", name))
    if len(steps) < 2:
        return ""
    items = pathlib.Path(folder, str(steps[-1]))
    files = sorted(path for path in items.glob("*/**/*") if path.is_file() and path.suffix != ".txt")
    path = rng.choice(files)
    how = rng.choice(("flipped a bit of", "cut", "deleted"))
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    return f"{how} {path.relative_to(folder)}"


def _listdir(path: str) -> list[str]:
    return os.listdir(path) if os.path.isdir(path) else []
