"""SIGINT and SIGTERM answered at once, also while the main thread is busy outside Python.

Python runs a signal's handler between two steps of its own main thread, so not during minutes of compiling.
But it writes the signal's number to a pipe at once; a thread waits there and acts.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

Action = Callable[[int], object]

_ONE_SIGNAL = 1.0  # seconds; launchers may send the same signal to a process and to its group


def leave(number: int, text: str) -> NoReturn:
    """Says why, and ends the process with 128 + number; no thread is waited for."""
    print(f"{signal.Signals(number).name}: {text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(128 + number)


def _nothing_yet(number: int) -> None:
    leave(number, "stopped; nothing has been trained since the start, so there is nothing to save")


_action: Action = _nothing_yet  # what the first signal does
_busy = threading.RLock()  # held while an action runs or is exchanged


def answer() -> None:
    """From now on the first signal does what `on_first` says, and a second one ends the process at once.

    By default the first one ends it too. Only for programs: call it in the main thread, once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()


@contextmanager
def on_first(action: Action) -> Iterator[None]:
    """Inside the block, the first signal calls `action` with its number, in a thread of its own.

    The block does not end while the action runs.
    """
    before = _exchange(action)
    try:
        yield
    finally:
        _exchange(before)


def _exchange(action: Action) -> Action:
    global _action
    with _busy:
        before, _action = _action, action
    return before


def _listen(reader: int) -> None:
    first: float | None = None
    while True:
        for number in os.read(reader, 16):
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            if first is None:
                first = time.monotonic()
                threading.Thread(target=_act, args=(number,), daemon=True).start()
            elif time.monotonic() - first > _ONE_SIGNAL:
                leave(number, "stopped at once; the newest complete checkpoint stays as it is")


def _act(number: int) -> None:
    with _busy:
        _action(number)
