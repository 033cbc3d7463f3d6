"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[BinaryIO]:
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


def temporary_name(path: str) -> str:
    """Where a `whole_file` lies while it is written."""
    return os.path.join(os.path.dirname(path), f".tmp-{os.path.basename(path)}")


def remove(path: str) -> None:
    """Removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
