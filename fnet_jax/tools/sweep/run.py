"""Runs points one after another, each in a process of its own, and shows the progress.

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

from tqdm import tqdm

from fnet_jax.core.errors import UserError
from fnet_jax.core.sweep import point_name
from fnet_jax.runtime import signals
from fnet_jax.runtime.lock import FileLock
from fnet_jax.tools.markdown import duration, main_value, show_value
from fnet_jax.tools.sweep.point import LOCK_FILE, LOG_FILE, PointResult, SweepPoint, save_result

PROGRAM = ["-m", "fnet_jax.tools.sweep.run_point"]
PATIENCE = 60.0  # seconds to wait for a point that another process holds; it may be saving its last state
_WAITING = "waiting for the point to save; once more stops it at once"


def run_points(points: Sequence[SweepPoint], shown: Sequence[str] = (), index: int | None = None) -> None:
    """Runs all points that are not done, the failed ones again; results are left in their folders.

    Args:
        points: of the sweep.
        shown: the keys that are named in a line about a point; all by default.
        index: run this one alone.

    Raises:
        UserError: if a folder holds work of another config; if point `index` is being run elsewhere.
        SystemExit: by Ctrl-C or SIGTERM, once the running point has saved and ended.
    """
    for point in points:
        point.check_unchanged()
    chosen = list(enumerate(points)) if index is None else [(index, points[index])]
    todo = [(number, point) for number, point in chosen if not point.done_result()]
    done = len(chosen) - len(todo)
    if index is None:
        count = f"{len(chosen)} point{'s' * (len(chosen) > 1)}"
        print(f"{count}: {done} done, {len(todo)} to run", flush=True)
    if not todo:
        return
    at_first = 0.0 if index is None else PATIENCE  # there is other work to do meanwhile, or there is not
    pending = deque((number, point, at_first) for number, point in todo)
    with (
        signals.deferred(_WAITING, repeat=True) as stop,
        tqdm(total=len(chosen), initial=done, unit="point", disable=None, dynamic_ncols=True) as bar,
    ):
        while pending:
            number, point, patience = pending.popleft()
            named = {key: value for key, value in point.overrides.items() if key in shown or not shown}
            label = f"[{number + 1}/{len(points)}] {point_name(named).replace(',', ' ')}"
            with _lock(point, patience, stop) as lock:
                if lock is not None:
                    _say(bar, f"{label}: {describe(_run(point, lock, bar, stop), point)}")
                    bar.update()
                elif index is not None:
                    raise UserError(f"point {index}, {point.name}, is being run by another process")
                elif patience == 0:
                    pending.append((number, point, PATIENCE))
                else:
                    _say(bar, f"{label}: run by another process")


def predict_with(point: SweepPoint, task: str, splits: Sequence[str]) -> str:
    """Lets a point that is done answer splits without labels, see `run_point.predict`.

    Returns:
        "" if it went well, otherwise what went wrong.

    Raises:
        SystemExit: by Ctrl-C or SIGTERM.
    """
    with signals.deferred(_WAITING, repeat=True) as stop, _lock(point, PATIENCE, stop) as lock:
        if lock is None:
            return "the point is being run by another process"
        flags = [f"--predict={task}", f"--splits={','.join(splits)}"]
        code = _run_process(point, flags, lock, lambda: None, stop)
        _exit_if_stopped(stop)
        return f"exit code {code}: {_reason(code, point)}; see {point.path(LOG_FILE)}" if code else ""


def _run(point: SweepPoint, lock: FileLock, bar: tqdm, stop: signals.StopSignal) -> PointResult:
    """Runs one point, unless another process has done it meanwhile.

    Raises:
        SystemExit: if a signal came before it was done.
    """
    if earlier := point.done_result():
        return earlier
    point.claim()
    begin = time.monotonic()

    def show_progress() -> None:
        bar.set_postfix_str(f"{point.name}: {_last_line(point)}"[:120])

    code = _run_process(point, [], lock, show_progress, stop)
    if result := point.done_result():
        return result
    _exit_if_stopped(stop)
    save_result(point.directory, code or 1, time.monotonic() - begin, _reason(code, point), {})
    failed = point.result()
    assert failed is not None
    return failed


def _run_process(
    point: SweepPoint,
    flags: Sequence[str],
    lock: FileLock,
    every_second: Callable[[], None],
    stop: signals.StopSignal,
) -> int:
    """Runs the point's program, with its output in the log.

    Args:
        point: whose folder it gets.
        flags: further ones.
        lock: held; the program holds it too, as long as it runs.
        every_second: is called meanwhile.
        stop: what this process received; it is passed on.

    Returns:
        The exit code; negative: killed by that signal.
    """
    command = [sys.executable, *PROGRAM, f"--directory={point.directory}", "--stop_with_parent", *flags]
    with (
        open(point.path(LOG_FILE), "ab") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # its end tells the program that this process is gone
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
                every_second()


def _reason(code: int, point: SweepPoint) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        return f"killed by {name}" + (" (out of memory?)" if code == -signal.SIGKILL else "")
    return _last_line(point)


def _last_line(point: SweepPoint) -> str:
    """The last line of the log that says something."""
    path = point.path(LOG_FILE)
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 4096))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def describe(result: PointResult, point: SweepPoint) -> str:
    """The result in a few words: "score 81.2 (4 min)"."""
    if not result.is_done:
        return f"failed with exit code {result.exit_code}: {result.error}; see {point.path(LOG_FILE)}"
    name = main_value(result.values)
    value = f"{name} {show_value(name, result.values[name])}" if name else "done"
    warnings = "".join(f", but {warning}" for warning in result.values.get("warnings", []))
    return f"{value}{warnings} ({duration(result.seconds)})"


def _say(bar: tqdm, text: str) -> None:
    bar.write(text, file=sys.stdout)
    sys.stdout.flush()


@contextlib.contextmanager
def _lock(point: SweepPoint, patience: float, stop: signals.StopSignal) -> Iterator[FileLock | None]:
    """A lock on the point's folder, or None if another process holds it for `patience` seconds more.

    The point's process inherits it, so it outlives this one as long as that one runs.
    """
    os.makedirs(point.directory, exist_ok=True)
    deadline = time.monotonic() + patience
    with contextlib.closing(FileLock(point.path(LOCK_FILE))) as lock:
        while not lock.acquire():
            _exit_if_stopped(stop)
            if time.monotonic() >= deadline:
                yield None
                return
            time.sleep(0.2)
        _exit_if_stopped(stop)
        yield lock


def _exit_if_stopped(stop: signals.StopSignal) -> None:
    if stop.number:
        name = signal.Signals(stop.number).name
        print(f"stopped by {name}; the same command goes on from here", file=sys.stderr)
        raise SystemExit(128 + stop.number)
