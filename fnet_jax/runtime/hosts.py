"""The processes of one program, one per host: who they are, what they exchange, how they end together.

Everything here goes through JAX's coordination service and not through the devices, so that waiting has a
time-out and ends with a sentence. All processes must call these functions in the same order. In a program of
one process, nothing waits.
"""

import atexit
import contextlib
import hashlib
import itertools
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from fnet_jax.core.errors import MachineError, UserError

T = TypeVar("T")

_TIMEOUT_S = 600.0  # for what takes seconds
_EXIT_TIMEOUT_S = 5.0
_OWN_ERROR_S = 2.0  # in which a process may run into the same error and report it itself
_SERVICE_EXIT_S = 1.0  # by which process 0, which runs the service, ends after the others
_POLL_S = 2.0
_FAILURE_KEY = "fnet_jax/failed"
_NEW_FILE_S = 3.0  # a network file system may show a new file late

_calls = itertools.count()  # equal on all processes, which call in the same order


def service() -> Any:
    """JAX's handle of the coordination service; it has no public name."""
    from jax._src import distributed  # imported late, for programs that need no JAX

    return distributed.global_state


def index() -> int:
    """Number of this process, from 0; does not initialise the devices."""
    return service().process_id if "jax" in sys.modules else 0


def count() -> int:
    """Number of processes that have joined; does not initialise the devices."""
    return service().num_processes if "jax" in sys.modules and service().client else 1


def is_joined() -> bool:
    """Whether this process has joined others, or has tried to."""
    return "jax" in sys.modules and service().coordinator_address is not None


def is_primary() -> bool:
    """Whether this is process 0, which prints and writes for all."""
    return index() == 0


def print_once(text: str) -> None:
    """Prints a line, on process 0 alone."""
    if is_primary():
        print(text, flush=True)


def all_gather(value: T, what: str = "the others") -> list[T]:
    """The values of all processes, in the order of their numbers.

    Args:
        value: of this process; something that JSON can hold.
        what: what is waited for, for the error message.

    Raises:
        MachineError: if a process did not come in time.
    """
    if count() == 1:
        return [value]
    key = f"fnet_jax/{next(_calls)}"
    client = service().client
    client.key_value_set(f"{key}/{index():06}", json.dumps(value))
    try:
        client.wait_at_barrier(key, int(_TIMEOUT_S * 1000))
    except Exception as error:
        raise MachineError(_timed_out(what, _TIMEOUT_S, str(error))) from error
    return [json.loads(found) for _, found in sorted(client.key_value_dir_get(key))]


def broadcast(value: T, what: str = "process 0", timeout_s: float = _TIMEOUT_S) -> T:
    """The value of process 0; those of the others are ignored.

    Args:
        value: of this process; something that JSON can hold.
        what: what is waited for, for the error message.
        timeout_s: seconds to wait.

    Raises:
        MachineError: if it did not come in time.
    """
    if count() == 1:
        return value
    key = f"fnet_jax/{next(_calls)}"
    client = service().client
    if is_primary():
        client.key_value_set(key, json.dumps(value))
        return value
    try:
        return json.loads(client.blocking_key_value_get(key, int(timeout_s * 1000)))
    except Exception as error:
        raise MachineError(_timed_out(what, timeout_s, str(error))) from error


def run_on_primary(work: Callable[[], object], what: str, timeout_s: float = _TIMEOUT_S) -> None:
    """Process 0 does some work while the others wait; an error on process 0 is raised on all.

    Args:
        work: to be done.
        what: names it for error messages, as in "process 0 could not WHAT".
        timeout_s: seconds that the others wait.

    Raises:
        UserError: if `work` raised one.
        MachineError: if `work` raised something else, or took too long.
    """
    if not is_primary():
        outcome = broadcast(["", ""], f"process 0 to {what}", timeout_s)
        if outcome[0]:
            raise (UserError if outcome[0] == "user" else MachineError)(outcome[1])
        return
    try:
        work()
    except UserError as error:
        broadcast(["user", str(error)])
        raise
    except Exception as error:
        broadcast(["machine", f"process 0 could not {what} ({type(error).__name__}: {error})"])
        raise
    broadcast(["", ""])


def require_same(values: Mapping[str, Any]) -> None:
    """Refuses values that differ between the processes.

    Args:
        values: by the name that a user knows; something that JSON can hold.

    Raises:
        UserError: on all processes, naming the first key that differs, and both values.
    """
    text = json.dumps(values, sort_keys=True)
    if len(set(all_gather(hashlib.sha256(text.encode()).hexdigest()))) == 1:
        return
    first, *others = all_gather(values)
    for number, other in enumerate(others, start=1):
        for key in sorted(first.keys() | other.keys()):
            here, there = first.get(key), other.get(key)
            if here != there:
                raise UserError(
                    f"{key} is {here!r} on process 0, {there!r} on process {number}; "
                    "start the same program with the same flags on every host"
                )


def processes_without(directory: str) -> list[int]:
    """Numbers of the processes that do not see what process 0 writes into `directory`; [] if all share it.

    Args:
        directory: process 0 makes it if it is absent.

    Raises:
        UserError: if process 0 cannot write there.
    """
    if count() == 1:
        return []
    path = os.path.join(directory, broadcast(f".seen-{uuid.uuid4().hex}"))

    def write() -> None:
        try:
            os.makedirs(directory, exist_ok=True)
            with open(path, "w", encoding="utf-8"):
                pass
        except OSError as error:
            raise UserError(
                f"{directory} cannot be written ({error.strerror}); name another folder"
            ) from error

    run_on_primary(write, f"write into {directory}")
    deadline = time.monotonic() + _NEW_FILE_S
    while not (seen := os.path.exists(path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    answers = all_gather(seen)
    if is_primary():
        os.remove(path)
    return [number for number, answer in enumerate(answers) if not answer]


def exit_with_peers(code: int, message: str) -> NoReturn:
    """Ends this process after an error; `sys.exit` would wait for the others to end.

    Processes with the same error end together. If this one fails alone, `watch_peers` tells the others.

    Args:
        code: to exit with.
        message: told to the others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):
        failure = json.dumps([index(), code, message])
        service().client.key_value_set(_FAILURE_KEY, failure, allow_overwrite=True)
    _exit_together(code)


def _exit_together(code: int) -> NoReturn:
    """Ends this process when all have come to this point, or after a time-out."""
    with contextlib.suppress(Exception):
        service().client.wait_at_barrier("fnet_jax/leave", int(_EXIT_TIMEOUT_S * 1000))
    if is_primary():
        time.sleep(_SERVICE_EXIT_S)
    os._exit(code)


def watch_peers() -> None:
    """From now on, an error of another process ends this one too, wherever it waits."""
    done = threading.Event()
    thread = threading.Thread(target=_watch_peers, args=(done,), daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    atexit.register(stop)  # runs before JAX's own handler, which was registered earlier


def _watch_peers(done: threading.Event) -> None:
    client = service().client
    while not done.wait(_POLL_S):
        with contextlib.suppress(Exception):  # no process has failed, or the service is gone
            number, code, message = json.loads(client.key_value_try_get(_FAILURE_KEY))
            break
    if done.wait(_OWN_ERROR_S) or number == index():
        return
    print(f"error: process {number} of {count()} has failed: {message}", file=sys.stderr, flush=True)
    _exit_together(code)


def describe_lost_peer(error: BaseException) -> str:
    """A sentence for people if `error` means that another process is gone, else ""."""
    text = str(error)
    if count() == 1 or not re.search(r"Gloo|NCCL|UNAVAILABLE|heartbeat|Connection (reset|closed)", text):
        return ""
    reason = text.strip().splitlines()[0]
    return (
        f"process {index()} of {count()} has lost another one, whose output says why ({reason}); "
        "start all again, training goes on from the newest checkpoint"
    )


def _timed_out(what: str, timeout_s: float, reason: str) -> str:
    missing = sorted({int(number) for number in re.findall(r"task:(\d+)", reason)} - {index()})
    who = f"; missing: process {', '.join(map(str, missing))}" if missing else ""
    cause = "" if "DEADLINE" in reason else f" ({reason.strip().splitlines()[0]})"
    return f"process {index()} of {count()} waited {timeout_s:.0f} s for {what} in vain{cause}{who}"
