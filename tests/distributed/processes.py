"""Starts real processes on this machine that form one program."""

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from tests import FAST_COMPILE
from tests.conftest import REPOSITORY

TIMEOUT_S = 300


def free_port() -> int:
    """Below the ports that systems give to connections, so that no test at the same time is given it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port


class Group:
    """Some processes of one program, number 0 first; each writes into a file of its own."""

    def __init__(self, folder, args, count, devices=1, missing=0):
        """Starts `args` as processes of a program of `count`; the last `missing` ones never come."""
        port = free_port()
        self.outputs = [folder / f"{port}-{number}.txt" for number in range(count - missing)]
        self.processes = []
        for number, output in enumerate(self.outputs):
            flags = [
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={count}",
                f"--process_id={number}",
                "--heartbeat_timeout_s=1000",
            ]
            environment = {
                **os.environ,
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {FAST_COMPILE}",
                "PYTHONUNBUFFERED": "1",
            }
            with open(output, "w") as file:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, *args, *flags],
                        cwd=REPOSITORY,
                        env=environment,
                        stdout=file,
                        stderr=subprocess.STDOUT,
                    )
                )

    def text(self, number: int) -> str:
        return self.outputs[number].read_text()

    def wait_for(self, condition, what: str) -> None:
        """Returns when `condition()` holds; fails with all output if the program ends before, or never."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline or any(p.poll() is not None for p in self.processes):
                raise AssertionError(f"no {what}\n{self.all_text()}")
            time.sleep(0.05)

    def codes(self) -> list[int]:
        """The exit codes, when all have ended."""
        deadline = time.monotonic() + TIMEOUT_S
        try:
            return [p.wait(max(0.1, deadline - time.monotonic())) for p in self.processes]
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end\n{self.all_text()}") from None

    def texts(self) -> list[str]:
        """What each process has printed."""
        return [self.text(number) for number in range(len(self.outputs))]

    def all_text(self) -> str:
        return "\n".join(f"--- process {i}\n{self.text(i)}" for i in range(len(self.outputs)))

    def kill(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextlib.contextmanager
def group(*args, **kwargs) -> Iterator[Group]:
    """A `Group` of which nothing is left afterwards."""
    processes = Group(*args, **kwargs)
    try:
        yield processes
    finally:
        processes.kill()


def train_and_evaluate(folder, config, keys) -> tuple[str, list[str]]:
    """Both by two processes: the workdir, and what each has printed of the evaluation."""
    workdir = f"{folder}/run"
    flags = [f"--config.{key}={value}" for key, value in keys.items()]
    train = ["train.py", f"--config={config}", *flags, f"--workdir={workdir}"]
    with group(folder, train, 2, devices=2) as two:
        assert two.codes() == [0, 0], two.all_text()
    with group(folder, ["eval.py", f"--workdir={workdir}"], 2) as two:
        assert two.codes() == [0, 0], two.all_text()
        return workdir, two.texts()
