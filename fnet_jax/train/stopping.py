"""Stopping on SIGINT and SIGTERM at a step, with everything saved."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_signals() -> Iterator[Callable[[], int]]:
    """Turns SIGINT and SIGTERM into a wish to stop at the next step; a second one stops at once.

    Yields:
        A function that gives the number of the signal received, 0 while there is none.
    """
    received = 0

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal received
        received = number
        signal.signal(number, previous[signal.Signals(number)])
        print(f"\n{signal.Signals(number).name}: saving and stopping; once more stops at once", flush=True)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield lambda: received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
