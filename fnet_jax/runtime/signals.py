"""How a program is stopped by SIGINT (Ctrl-C) or SIGTERM.

- A program that calls `install` ends at the first signal, also while its main thread is in the compiler.
  Inside an `on_stop` block the first signal does something else before that.
- Inside a `deferred` block a signal only leaves its number, and the program stops where it suits it.

Python runs a signal's handler between two steps of its own main thread, so not during minutes of compiling.
But it writes the signal's number to a pipe at once, and a thread of `install` reads from there.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

Action = Callable[[int], object]

SAVING = "saving and stopping; once more stops at once"

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_ONE_SIGNAL = 1.0  # seconds; launchers may send the same signal to a process and to its group


def say(number: int, text: str) -> None:
    """Prints what a signal does, on a line of its own."""
    print(f"\n{signal.Signals(number).name}: {text}", flush=True)


def exit_now(number: int, text: str) -> NoReturn:
    """Says why, and ends the process with 128 + number, without waiting for any thread."""
    print(f"{signal.Signals(number).name}: {text}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(128 + number)


def _nothing_to_save(number: int) -> None:
    exit_now(number, "stopped; nothing has been trained since the start, so there is nothing to save")


_action: Action = _nothing_to_save  # what the first signal does
_action_lock = threading.RLock()  # held while an action runs or is replaced


def install() -> None:
    """From now on the first signal does what `on_stop` says, and a second one ends the process at once.

    Outside of `on_stop` and `deferred` the first one ends it too. Only for programs: call it in the main
    thread, once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _NUMBERS:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(reader,), daemon=True).start()


@contextlib.contextmanager
def on_stop(action: Action) -> Iterator[None]:
    """Inside the block, the first signal calls `action` with its number, in a thread of its own.

    The block does not end while the action runs. Without `install` it has no effect.
    """
    before = _replace_action(action)
    try:
        yield
    finally:
        _replace_action(before)


def _replace_action(action: Action) -> Action:
    global _action
    with _action_lock:
        before, _action = _action, action
    return before


def _listen(reader: int) -> None:
    first: float | None = None
    while True:
        for number in os.read(reader, 16):
            if number not in _NUMBERS:
                continue
            if first is None:
                first = time.monotonic()
                threading.Thread(target=_act, args=(number,), daemon=True).start()
            elif time.monotonic() - first > _ONE_SIGNAL:
                exit_now(number, "stopped at once; the newest complete checkpoint stays as it is")


def _act(number: int) -> None:
    with _action_lock:
        _action(number)


class StopSignal:
    """The stop signal of a `deferred` block.

    Attributes:
        number: of the last signal that arrived; 0 while there is none.
    """

    number = 0
    _child: subprocess.Popen | None = None

    @contextlib.contextmanager
    def passed_to(self, child: subprocess.Popen) -> Iterator[None]:
        """Inside the block, `child` gets every signal that arrives, and one that came before it started."""
        self._child = child
        if self.number:
            child.send_signal(self.number)
        try:
            yield
        finally:
            self._child = None

    def _arrived(self, number: int) -> None:
        self.number = number
        if self._child:
            self._child.send_signal(number)


@contextlib.contextmanager
def deferred(text: str, repeat: bool = False) -> Iterator[StopSignal]:
    """Inside the block a signal only leaves its number, for the program to stop where it suits it.

    Args:
        text: printed when a signal arrives.
        repeat: treat every signal so. By default, a second one of the same kind does what it would have done
            without the block.

    Yields:
        What to look at.
    """
    stop = StopSignal()

    def on_signal(number: int, _: FrameType | None) -> None:
        if not repeat:
            signal.signal(number, previous[number])
        say(number, text)
        stop._arrived(number)

    previous = {int(number): signal.signal(number, on_signal) for number in _NUMBERS}
    try:
        with on_stop(lambda number: None):
            yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
