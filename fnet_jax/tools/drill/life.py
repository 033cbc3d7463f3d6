"""One life of the trainer in a drill: its start, the moment of its death, and what it must leave."""

import dataclasses
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time
from typing import Any

from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.runtime.lock import last_holder

REPOSITORY = pathlib.Path(__file__).parents[3]
SIGNALS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT")
TIMEOUT = 300.0  # seconds for a start to reach its phase, and for a stopped trainer to be gone
_LOG = "train.log"

# Phase -> how long it may have lasted when the kill comes, seconds. "start" is before the trainer says
# anything, "save" is the writing in the background too.
DELAYS = {"start": 3.0, "prepare": 1.5, "compile": 4.0, "steps": 0.25, "evaluate": 0.02, "save": 0.06}
PHASES = ("steps", "save", "evaluate", "compile", "steps", "save", "evaluate", "start", "steps", "prepare")


BEFORE_TRAINING = ("start", "prepare", "restart")


@dataclasses.dataclass
class Death:
    """How one life ended.

    Attributes:
        aimed: the phase in which it was to end.
        phase: the one in which it did.
        signal: that ended it.
        code: exit code of the process.
        seconds: from the signal to the end.
        half_written: whether a half-written checkpoint was left.
        steps_lost: steps done after the newest complete checkpoint, to be repeated.
        damage: what was then done to the newest checkpoint.
    """

    aimed: str
    phase: str
    signal: str
    code: int
    seconds: float
    half_written: bool = False
    steps_lost: int = 0
    damage: str = ""

    def sentence(self) -> str:
        """For a person."""
        return f"{self.signal} in {self.phase} (exit code {self.code}, {self.seconds:.1f} s)"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


class Life:
    """A process of train.py; what it prints is kept in OUT/train.log."""

    def __init__(self, workdir: str, out: str, config: dict[str, object], cached: bool = True):
        """Starts it.

        Args:
            workdir: of the run.
            out: of the drill.
            config: keys over the smoke config.
            cached: whether it may use the drill's compilation cache.
        """
        self._workdir, self._log = workdir, os.path.join(out, _LOG)
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
                command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self) -> tuple[int, str]:
        """Its exit code, when it ends by itself, and the last line that it printed."""
        code = self._process.wait()
        return code, (self._said().splitlines() or [""])[-1]

    def kill(self, phase: str, rng: random.Random) -> Death:
        """Ends it at a random moment of a phase."""
        number = signal.Signals[rng.choice(SIGNALS)]
        delay = rng.uniform(0, DELAYS[phase])
        while self._process.poll() is None and not self._is_in(phase):
            time.sleep(0.002)
            if time.monotonic() - self._begin > TIMEOUT:
                break
        time.sleep(delay)
        at, began = self._phase(), time.monotonic()
        self._process.send_signal(number)
        try:
            code = self._process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        over = "done" if code == 0 else self._phase() if number == signal.SIGKILL else at
        half_written = any("tmp" in name for name in _listdir(os.path.join(self._workdir, CHECKPOINT_DIR)))
        seconds = time.monotonic() - began
        return Death(phase, over, number.name, code, seconds, half_written=half_written)

    def faults(self, death: Death) -> list[str]:
        """What of its end was not as it should be."""
        number = signal.Signals[death.signal]
        valid = {-number} if number == signal.SIGKILL else {128 + number}
        if death.phase == "start":
            valid.add(-number)  # Python itself was still starting
        found = []
        if death.phase != "done" and death.code not in valid:
            found.append(f"exit code not in {sorted(valid)}: {(self._said().splitlines() or [''])[-1]}")
        if death.seconds > TIMEOUT:
            found.append("it did not stop")
        return found

    def _is_in(self, phase: str) -> bool:
        if phase == "start":
            return True
        if phase == "save" and any(
            "tmp" in name for name in _listdir(os.path.join(self._workdir, CHECKPOINT_DIR))
        ):
            return self._phase() not in ("start", "prepare", "restart")
        return self._phase() == phase

    def _phase(self) -> str:
        """What the trainer has last said it does; "start" until it has the lock."""
        holder = last_holder(self._workdir)
        return holder["phase"] if holder.get("pid") == self._process.pid else "start"

    def _said(self) -> str:
        with open(self._log, encoding="utf-8", errors="replace") as log:
            log.seek(self._log_start)
            return log.read().strip()


def damage_newest(workdir: str, rng: random.Random) -> str:
    """Flips a bit of a file of the newest checkpoint, or cuts it, or deletes it, if there is an older one.

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
