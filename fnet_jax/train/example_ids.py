"""Which examples each step was trained on, as JSONL: for looking at, and to compare runs (`log.example_ids`).

WORKDIR/example_ids/NNNNN.jsonl is of process NNNNN. A row is `step` (as in the metrics: steps done after
it), `process` and `ids`, the numbers of the examples in the training split, in the order of the rows of the
batch. It is written when the loop takes the batch, and the numbers come with the batch from where it was
made, so a batch that is lost, doubled or late in between shows.
"""

import json
import os
from collections.abc import Iterator

from fnet_jax.core import hosts, jsonl
from fnet_jax.core.batch import Batch
from fnet_jax.data.pipeline import EXAMPLE_IDS

FOLDER = "example_ids"


def record(batches: Iterator[Batch], workdir: str, start_step: int) -> Iterator[Batch]:
    """Takes the numbers out of the batches and writes them down; rows after `start_step` are dropped first.

    Args:
        batches: from `start_step` on, with the field `EXAMPLE_IDS`, on the host.
        workdir: of the run; all processes see the same folder.
        start_step: steps done before the first batch.
    """
    folder = os.path.join(workdir, FOLDER)

    def drop_later() -> None:
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):  # also those of processes that are gone
            jsonl.keep(os.path.join(folder, name), lambda row: row["step"] <= start_step)

    hosts.first_does(drop_later, f"write into {folder}")
    return _write(batches, os.path.join(folder, f"{hosts.index():05}.jsonl"), start_step)


def _write(batches: Iterator[Batch], path: str, start_step: int) -> Iterator[Batch]:
    with open(path, "a", encoding="utf-8") as file:
        for step, batch in enumerate(batches, start_step + 1):
            ids = batch[EXAMPLE_IDS].tolist()
            file.write(json.dumps({"step": step, "process": hosts.index(), "ids": ids}) + "\n")
            file.flush()
            yield {name: value for name, value in batch.items() if name != EXAMPLE_IDS}


def read(workdir: str) -> dict[int, list[int]]:
    """Step -> the numbers of its examples in the order of the global batch, of all processes together."""
    folder = os.path.join(workdir, FOLDER)
    names = sorted(name for name in os.listdir(folder) if name.endswith(".jsonl"))
    found: dict[int, list[int]] = {}
    for name in names:
        for row in jsonl.read(os.path.join(folder, name)):
            found.setdefault(row["step"], []).extend(row["ids"])
    return found
