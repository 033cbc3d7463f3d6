"""JSONL files that a kill can cut short: one JSON object a line."""

import json
import os
from collections.abc import Callable
from typing import Any

from fnet_jax.core.files import atomic_file

Row = dict[str, Any]


def read(path: str) -> list[Row]:
    """The rows of a file, oldest first; none where there is no file, a line cut by a kill is left out."""
    if not os.path.exists(path):
        return []
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows


def keep(path: str, holds: Callable[[Row], bool]) -> None:
    """Drops the rows for which `holds` is false; afterwards there is a file, and all its lines are whole."""
    rows = [row for row in read(path) if holds(row)]
    with atomic_file(path) as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
