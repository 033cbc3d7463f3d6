"""Runs points one after another, each in a process of its own, and says how far it is.

This process never touches a device: those of a TPU belong to one process at a time, the point's.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import signals
from fnet_jax.runtime.lock import FileLock
from fnet_jax.tools.markdown import duration, main_value, show_value
from fnet_jax.tools.sweep import point as points
from fnet_jax.tools.sweep.point import LOCK_FILE, LOG_FILE, Point, Result

PROGRAM = ["-m", "fnet_jax.tools.sweep.point"]
_WAITING = "waiting for the point to save; once more stops it at once"
PATIENCE = 60.0  # seconds to wait for a point that another process holds; it may be saving its last state


class Stopped(Exception):
    """Ctrl-C or SIGTERM; what ran was told to save, and has ended.

    Attributes:
        exit_code: 130 or 143.
    """

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
        self.exit_code = 128 + number


def run_points(todo: Sequence[Point], shown: Sequence[str] = (), index: int | None = None) -> None:
    """Runs all points that are not done, the failed ones again; results are left in their folders.

    Args:
        todo: the points of the sweep.
        shown: the keys that are named in a line about a point; all by default.
        index: run this one alone.

    Raises:
        UserError: if a folder holds work of another config; if point `index` is being run elsewhere.
        Stopped: by Ctrl-C or SIGTERM.
    """
    for point in todo:
        points.check_unchanged(point)
    chosen = list(enumerate(todo)) if index is None else [(index, todo[index])]
    done = sum(_is_done(point) for _, point in chosen)
    if index is None:
        print(
            f"{len(chosen)} point{'s' * (len(chosen) > 1)}: {done} done, {len(chosen) - done} to run",
            flush=True,
        )
    at_first = 0.0 if index is None else PATIENCE  # there is other work to do meanwhile, or there is not
    pending = deque((number, point, at_first) for number, point in chosen if not _is_done(point))
    if not pending:
        return
    with (
        signals.deferred(_WAITING, repeat=True) as stop,
        tqdm(total=len(chosen), initial=done, unit="point", disable=None, dynamic_ncols=True) as bar,
    ):
        while pending:
            number, point, patience = pending.popleft()
            with _lock(point, patience, stop) as lock:
                if lock is not None:
                    result = _run(point, lock, bar, stop)
                    _say(bar, f"[{number + 1}/{len(todo)}] {_label(point, shown)}: {describe(result, point)}")
                    bar.update()
                elif index is not None:
                    raise UserError(f"point {index}, {point.name}, is being run by another process")
                elif patience == 0:
                    pending.append((number, point, PATIENCE))
                else:
                    _say(bar, f"[{number + 1}/{len(todo)}] {_label(point, shown)}: run by another process")


def run_job(point: Point, *args: str) -> str:
    """Runs something else on a point that is done, with the same log, lock and signals.

    Args:
        point: of a sweep.
        *args: further arguments for `tools/sweep/point.py`.

    Returns:
        "" if it went well, otherwise what went wrong.

    Raises:
        Stopped: by Ctrl-C or SIGTERM.
    """
    with signals.deferred(_WAITING, repeat=True) as stop, _lock(point, PATIENCE, stop) as lock:
        if lock is None:
            return "the point is being run by another process"
        command = [*PROGRAM, f"--directory={point.directory}", "--stop_with_parent", *args]
        log = point.path(LOG_FILE)
        code = run_child(command, log, lock, lambda: None, stop)
        _raise_if_stopped(stop)
        return f"exit code {code}: {_reason(code, log)}; see {log}" if code else ""


def run_child(
    command: Sequence[str], log: str, lock: FileLock, tick: Callable[[], Any], stop: signals.StopSignal
) -> int:
    """Runs a command with its output in a file; passes signals on to it, and stops it if this process dies.

    Args:
        command: arguments after the Python interpreter.
        log: file to which stdout and stderr are appended.
        lock: held; the child holds it too, as long as it lives.
        tick: called every second.
        stop: what this process received, to be passed on.

    Returns:
        The exit code; negative: killed by that signal.
    """
    with (
        open(log, "ab") as output,
        subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,  # its end tells the child that this process is gone
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it once, through us
            pass_fds=[lock.fd],
        ) as process,
        stop.passed_to(process),
    ):
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                tick()


def _run(point: Point, lock: FileLock, bar: tqdm, stop: signals.StopSignal) -> Result:
    """Runs one point, unless another process has done it meanwhile.

    Raises:
        Stopped: if a signal came.
    """
    earlier = points.result_of(point)
    if earlier and earlier.is_done:
        return earlier
    points.claim(point)
    begin, log = time.monotonic(), point.path(LOG_FILE)

    def tick() -> None:
        bar.set_postfix_str(f"{point.name}: {points.last_line(log)}"[:120])

    command = [*PROGRAM, f"--directory={point.directory}", "--stop_with_parent"]
    code = run_child(command, log, lock, tick, stop)
    result = points.result_of(point)
    if result and result.is_done:
        return result
    _raise_if_stopped(stop)
    points.save_result(point.directory, code or 1, time.monotonic() - begin, _reason(code, log), {})
    failed = points.result_of(point)
    assert failed is not None
    return failed


def _reason(code: int, log: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return points.last_line(log)


def describe(result: Result, point: Point) -> str:
    """The result in a few words: "score 81.2 (4 min)"."""
    if not result.is_done:
        return f"failed with exit code {result.exit_code}: {result.error}; see {point.path(LOG_FILE)}"
    warnings = "".join(f", but {warning}" for warning in result.values.get("warnings", []))
    return f"{headline(result)}{warnings} ({duration(result.seconds)})"


def headline(result: Result) -> str:
    """The value that stands for a result, with its name."""
    name = main_value(result.values)
    return f"{name} {show_value(name, result.values[name])}" if name else "done"


def _label(point: Point, shown: Sequence[str]) -> str:
    named = {key: value for key, value in point.overrides.items() if key in shown or not shown}
    return points.point_name(named).replace(",", " ")


def _say(bar: tqdm, text: str) -> None:
    bar.write(text, file=sys.stdout)
    sys.stdout.flush()


def _is_done(point: Point) -> bool:
    result = points.result_of(point)
    return result is not None and result.is_done


@contextlib.contextmanager
def _lock(point: Point, patience: float, stop: signals.StopSignal) -> Iterator[FileLock | None]:
    """A lock on the point's folder, or None if another process holds it for `patience` seconds more.

    The child inherits it, so it outlives this process as long as the child does.
    """
    os.makedirs(point.directory, exist_ok=True)
    deadline = time.monotonic() + patience
    with contextlib.closing(FileLock(point.path(LOCK_FILE))) as lock:
        while not lock.acquire():
            _raise_if_stopped(stop)
            if time.monotonic() >= deadline:
                yield None
                return
            time.sleep(0.2)
        _raise_if_stopped(stop)
        yield lock


def _raise_if_stopped(stop: signals.StopSignal) -> None:
    if stop.number:
        raise Stopped(stop.number)
