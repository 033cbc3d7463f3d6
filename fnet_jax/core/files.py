"""Files and folders that are there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from fnet_jax.core.errors import UserError


@contextlib.contextmanager
def atomic_file(path: str) -> Iterator[BinaryIO]:
    """A file to write in the block. It gets its name at the end; if the block raises, nothing is left."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise


def write_atomically(path: str, content: str | bytes) -> None:
    """Writes a file, text as UTF-8, so that it is there whole or not at all."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def new_folder(dst: str) -> Iterator[str]:
    """A folder beside `dst`, which takes its place at the end; nothing is left if that is not reached.

    Raises:
        UserError: if there is something at `dst`, or it cannot be written.
    """
    if os.path.lexists(dst) and not (os.path.isdir(dst) and not os.listdir(dst)):
        raise UserError(f"--dst={dst} is there already; name a new folder")
    folder = f"{dst}.tmp-{os.getpid()}"
    try:
        os.makedirs(folder)
    except OSError as error:
        raise UserError(f"--dst={dst} cannot be written ({error.strerror}); name another folder") from error
    try:
        yield folder
        os.rename(folder, dst)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_name(path: str) -> str:
    """Where an `atomic_file` lies while it is written."""
    return os.path.join(os.path.dirname(path), f".tmp-{os.path.basename(path)}")


def remove(path: str) -> None:
    """Removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
