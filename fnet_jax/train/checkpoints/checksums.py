"""Checksums of a checkpoint's files. Orbax notices damaged metadata, but not a flipped byte of an array."""

import hashlib
import json
import os
from collections.abc import Iterator

CHECKSUM_FILE = "checksums.json"
_MARKER = "commit_success.txt"  # of Orbax; a copy opens without it


def write(folder: str) -> None:
    """Leaves in `folder` the size and digest of every file of every item, that is, of each folder in it."""
    sums = {name: _facts(os.path.join(folder, name)) for name in _files(folder)}
    with open(os.path.join(folder, CHECKSUM_FILE), "w", encoding="utf-8") as file:
        json.dump(sums, file, indent=1)


def exist(folder: str) -> bool:
    """Whether the checkpoint was saved with checksums."""
    return os.path.exists(os.path.join(folder, CHECKSUM_FILE))


def fault(folder: str, item: str = "") -> str:
    """What is wrong with the files of a checkpoint; "" if they are what was saved, or have no checksums.

    Args:
        folder: of the checkpoint.
        item: look at this one alone.
    """
    if not exist(folder):
        return ""
    try:
        with open(os.path.join(folder, CHECKSUM_FILE), encoding="utf-8") as file:
            sums: dict[str, list[int | str]] = json.load(file)
    except ValueError:
        return f"{CHECKSUM_FILE} is damaged"
    for name, (size, digest) in sums.items():
        path = os.path.join(folder, name)
        if item and not name.startswith(item + "/"):
            continue
        if not os.path.exists(path):
            return f"{name} is missing"
        if os.path.getsize(path) != size:
            return f"{name} has {os.path.getsize(path)} of {size} bytes"
        if _facts(path)[1] != digest:
            return f"{name} is not what was saved"
    return ""


def _files(folder: str) -> Iterator[str]:
    """Paths inside `folder`, without the files that lie directly in it: Orbax changes them at the commit."""
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            if place != folder and name != _MARKER:
                yield os.path.relpath(os.path.join(place, name), folder)


def _facts(path: str) -> list[int | str]:
    with open(path, "rb") as file:
        return [os.path.getsize(path), hashlib.file_digest(file, "blake2b").hexdigest()[:32]]
