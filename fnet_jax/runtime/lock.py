"""One trainer per workdir: a lock of the kernel, which vanishes with its process."""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from typing import Any

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import hosts

LOCK_FILE = ".trainer"


class Lock:
    """Held from its making until `release`; the file says who holds it, and in which phase he is.

    A file without a holder was left by a killed trainer: its last phase is that of the kill.
    """

    def __init__(self, workdir: str):
        """Takes the lock.

        Args:
            workdir: of the run; must exist.

        Raises:
            UserError: if another trainer has it, naming its host, process and start.
        """
        self._path = os.path.join(workdir, LOCK_FILE)
        self._facts = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        self._phase = ""
        self._file = self._take(workdir)
        self.note("start")

    def note(self, phase: str) -> None:
        """Leaves the name of what the trainer does now in the file, if it is another one."""
        if phase == self._phase:
            return
        self._phase = phase
        text = json.dumps({**self._facts, "phase": phase}).ljust(256).encode()
        with contextlib.suppress(OSError):  # a full disk; what must be written will say so
            os.pwrite(self._file, text, 0)

    def release(self) -> None:
        """Removes the file, then lets go of it."""
        os.remove(self._path)
        os.close(self._file)

    def _take(self, workdir: str) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                raise UserError(_refusal(workdir)) from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
                print(f"note: {workdir} lies on a file system without locks; start no second trainer there")
                return file
            if _is_same(file, self._path):  # not one that its holder has just removed
                return file
            os.close(file)


def take(workdir: str) -> Lock | None:
    """Process 0 takes the lock for all, and gets it.

    Raises:
        UserError: in all processes, if another trainer has it.
    """
    taken: list[Lock] = []
    hosts.run_on_primary(lambda: taken.append(Lock(workdir)), f"lock {workdir}")
    return taken[0] if taken else None


def last_holder(workdir: str) -> dict[str, Any]:
    """`host`, `pid`, `start` and `phase` of the trainer that has the lock or was killed with it; or {}."""
    try:
        with open(os.path.join(workdir, LOCK_FILE), encoding="utf-8") as file:
            return json.loads(file.read())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _refusal(workdir: str) -> str:
    holder = last_holder(workdir)
    return (
        f"--workdir={workdir} is in use: process {holder.get('pid')} on {holder.get('host')} has been "
        f"training there since {holder.get('start')}; stop it first, or name another folder"
    )


def _is_same(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
