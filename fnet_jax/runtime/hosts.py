"""What the processes of one program tell each other: who they are, what they agree on, how they end.

Everything here goes through JAX's coordination service, not through the devices, so that waiting has a
time-out and an answer. All processes call these functions in the same order. Alone, nothing waits.
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

TIMEOUT_S = 600.0  # for what takes seconds
_LEAVE_TIMEOUT_S = 5.0
_OWN_WORDS_S = 2.0  # for a process that finds the same fault to say so itself
_LAST_S = 1.0
_LOOK_EVERY_S = 2.0
_FAILED = "fnet_jax/failed"
_SEEN_AFTER_S = 3.0  # a network file system may show a new file late

_calls = itertools.count()  # equal on all processes, which call in the same order


def service() -> Any:
    """JAX's side of the coordination service; it has no public name."""
    from jax._src import distributed  # late: where JAX is not needed, it is not loaded

    return distributed.global_state


def index() -> int:
    """Number of this process, from 0; does not look at the devices."""
    return service().process_id if "jax" in sys.modules else 0


def count() -> int:
    """Number of processes that came together; does not look at the devices."""
    return service().num_processes if "jax" in sys.modules and service().client else 1


def is_joined() -> bool:
    """Whether this process has joined others, or has tried to."""
    return "jax" in sys.modules and service().coordinator_address is not None


def is_primary() -> bool:
    """Whether this is process 0, which prints and writes for all."""
    return index() == 0


def print_once(text: str) -> None:
    """Prints a line, once."""
    if is_primary():
        print(text, flush=True)


def all_gather(value: str, what: str = "the others", timeout_s: float = TIMEOUT_S) -> list[str]:
    """The values of all processes, by their numbers.

    Args:
        value: of this process.
        what: is waited for, for the message.
        timeout_s: seconds to wait.

    Raises:
        MachineError: if a process did not come in time.
    """
    if count() == 1:
        return [value]
    key = f"fnet_jax/{next(_calls)}"
    client = service().client
    client.key_value_set(f"{key}/{index():06}", value)
    try:
        client.wait_at_barrier(key, int(timeout_s * 1000))
    except Exception as error:
        raise MachineError(_late(what, timeout_s, str(error))) from error
    return [found for _, found in sorted(client.key_value_dir_get(key))]


def broadcast(value: T, what: str = "process 0", timeout_s: float = TIMEOUT_S) -> T:
    """Process 0's value, which JSON must be able to hold; the others' values do not count.

    Args:
        value: of this process.
        what: is waited for, for the message.
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
        raise MachineError(_late(what, timeout_s, str(error))) from error


def run_on_primary(work: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Process 0 does some work while the others wait; where it fails, all do.

    Args:
        work: to be done.
        what: it is, as in "process 0 does not WHAT".
        timeout_s: seconds to wait for it.

    Raises:
        UserError: as on process 0.
        MachineError: if it failed otherwise or took too long.
    """
    if not is_primary():
        verdict = broadcast(["", ""], f"process 0 to {what}", timeout_s)
        if verdict[0]:
            raise (UserError if verdict[0] == "user" else MachineError)(verdict[1])
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
        values: by the name that a user knows them by; JSON must be able to hold them.

    Raises:
        UserError: on all processes, naming the first key that differs, and both values.
    """
    text = json.dumps(values, sort_keys=True)
    if len(set(all_gather(hashlib.sha256(text.encode()).hexdigest()))) == 1:
        return
    everyone = [json.loads(found) for found in all_gather(text)]
    for number, other in enumerate(everyone):
        for key in sorted(everyone[0].keys() | other.keys()):
            here, there = everyone[0].get(key), other.get(key)
            if here != there:
                raise UserError(
                    f"{key} is {here!r} on process 0, {there!r} on process {number}; "
                    "start the same program with the same flags on every host"
                )


def processes_without(directory: str) -> list[int]:
    """Numbers of the processes that do not see what process 0 writes into `directory`; [] if all share it.

    Args:
        directory: made on process 0 if absent.

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
    deadline = time.monotonic() + _SEEN_AFTER_S
    while not (seen := os.path.exists(path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    answers = all_gather("seen" if seen else "")
    if is_primary():
        os.remove(path)
    return [number for number, answer in enumerate(answers) if not answer]


def exit_with_peers(code: int, message: str) -> NoReturn:
    """Ends this process after an error, without the end of the others that `sys.exit` would wait for.

    Processes that fail together leave together. One that fails alone tells the others, see `watch_peers`.

    Args:
        code: to exit with.
        message: what the others are told.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):
        told = json.dumps([index(), code, message])
        service().client.key_value_set(_FAILED, told, allow_overwrite=True)
    _exit_together(code)


def _exit_together(code: int) -> NoReturn:
    """Ends this process when all have come so far, or some time later; process 0, which serves them, last."""
    with contextlib.suppress(Exception):
        service().client.wait_at_barrier("fnet_jax/leave", int(_LEAVE_TIMEOUT_S * 1000))
    if is_primary():
        time.sleep(_LAST_S)
    os._exit(code)


def watch_peers() -> None:
    """From now on, another process's error ends this one too, wherever it waits."""
    done = threading.Event()
    thread = threading.Thread(target=_watch_peers, args=(done,), daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join()

    atexit.register(stop)  # before JAX's own end


def _watch_peers(done: threading.Event) -> None:
    client = service().client
    while not done.wait(_LOOK_EVERY_S):
        with contextlib.suppress(Exception):  # nobody has failed, or the service is gone
            number, code, message = json.loads(client.key_value_try_get(_FAILED))
            break
    if done.wait(_OWN_WORDS_S) or number == index():
        return
    print(f"error: process {number} of {count()} has failed: {message}", file=sys.stderr, flush=True)
    _exit_together(code)


def describe_lost_peer(error: BaseException) -> str:
    """A sentence if `error` says that another process is gone, or nothing."""
    text = str(error)
    if count() == 1 or not re.search(r"Gloo|NCCL|UNAVAILABLE|heartbeat|Connection (reset|closed)", text):
        return ""
    reason = text.strip().splitlines()[0]
    return (
        f"process {index()} of {count()} has lost another one, whose output says why ({reason}); "
        "start all again, training goes on from the newest checkpoint"
    )


def _late(what: str, timeout_s: float, reason: str) -> str:
    missing = sorted({int(number) for number in re.findall(r"task:(\d+)", reason)} - {index()})
    who = f"; missing: process {', '.join(map(str, missing))}" if missing else ""
    cause = "" if "DEADLINE" in reason else f" ({reason.strip().splitlines()[0]})"
    return f"process {index()} of {count()} waited {timeout_s:.0f} s for {what} in vain{cause}{who}"
