"""Locks that vanish with their process, and the one that keeps a second trainer out of a workdir."""

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


class FileLock:
    """A lock of the kernel (`flock`) on a file; after `acquire` it is held until `close`.

    Attributes:
        fd: descriptor of the open file. A child process that inherits it holds the lock too.
    """

    def __init__(self, path: str, shared: bool = False):
        """Opens the file, made if absent. `shared` keeps out only those who want the lock for themselves."""
        self._path = path
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self.fd = self._open()

    def acquire(self, wait: bool = False) -> bool:
        """Takes the lock; false if another process holds it and this one is not to `wait`.

        Raises:
            OSError: if the file system has no locks.
        """
        while True:
            try:
                fcntl.flock(self.fd, self._kind | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            if self._is_current():
                return True
            self.close()
            self.fd = self._open()

    def close(self) -> None:
        """Gives the lock up, unless a child process still has it."""
        os.close(self.fd)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)

    def _is_current(self) -> bool:
        """Whether the open file still has its name; a holder may have removed it when it was done."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self._path))
        except FileNotFoundError:
            return False


class TrainerLock:
    """The lock on a workdir, from construction until `release`.

    Its file says which process holds it and what that does at the moment (`phase`). A file that nobody has
    locked was left by a killed trainer, and its phase is the one in which the trainer was killed.
    """

    def __init__(self, workdir: str):
        """Takes the lock.

        Args:
            workdir: of the run; must exist.

        Raises:
            UserError: if another trainer has it, naming its host, process and start.
        """
        self._path = os.path.join(workdir, LOCK_FILE)
        self._holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "start": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        self._phase = ""
        self._lock = FileLock(self._path)
        try:
            if not self._lock.acquire():
                self._lock.close()
                raise UserError(_refusal(workdir))
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            print(f"note: {workdir} lies on a file system without locks; start no second trainer there")
        self.note("start")

    def note(self, phase: str) -> None:
        """Writes into the file what the trainer does now, if that is something else than before."""
        if phase == self._phase:
            return
        self._phase = phase
        text = json.dumps({**self._holder, "phase": phase}).ljust(256).encode()
        with contextlib.suppress(OSError):  # a full disk; what must be written will say so
            os.pwrite(self._lock.fd, text, 0)

    def release(self) -> None:
        """Removes the file, then gives the lock up."""
        os.remove(self._path)
        self._lock.close()


def lock_workdir(workdir: str) -> TrainerLock | None:
    """Process 0 takes the lock for all processes; it alone gets it, the others None.

    Raises:
        UserError: in all processes, if another trainer has it.
    """
    taken: list[TrainerLock] = []
    hosts.run_on_primary(lambda: taken.append(TrainerLock(workdir)), f"lock {workdir}")
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
