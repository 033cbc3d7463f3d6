"""Which examples each step was trained on, as JSONL: for looking at, and to compare runs (`log.example_ids`).

WORKDIR/example_ids/NNNNN.jsonl is of process NNNNN. A line is `step` (as in the metrics: steps done after
it), `process`, `rows` of the batch that this process made, and `ids`, the numbers of their examples in the
training split. It is written when the loop takes the batch, and the numbers come with the batch from where it
was made, so a batch that is lost, doubled or late in between shows.
"""

import json
import os
from collections.abc import Iterator

from fnet_jax.core import jsonl
from fnet_jax.core.batch import Batch
from fnet_jax.data.pipeline import EXAMPLE_IDS
from fnet_jax.runtime import hosts

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

    hosts.run_on_primary(drop_later, f"write into {folder}")
    return _write(batches, os.path.join(folder, f"{hosts.index():05}.jsonl"), start_step)


def _write(batches: Iterator[Batch], path: str, start_step: int) -> Iterator[Batch]:
    with open(path, "a", encoding="utf-8") as file:
        for step, batch in enumerate(batches, start_step + 1):
            rows, ids = batch[EXAMPLE_IDS].T.tolist()
            line = {"step": step, "process": hosts.index(), "rows": rows, "ids": ids}
            file.write(json.dumps(line) + "\n")
            file.flush()
            yield {name: value for name, value in batch.items() if name != EXAMPLE_IDS}


def read(workdir: str) -> dict[int, list[int]]:
    """Step -> the numbers of its examples in the order of the global batch, of all processes together.

    Raises:
        ValueError: if one row was written down twice by a process, or with another example by another.
    """
    folder = os.path.join(workdir, FOLDER)
    steps: dict[int, dict[int, int]] = {}
    for name in sorted(os.listdir(folder)):
        seen: set[int] = set()
        for line in jsonl.read(os.path.join(folder, name)):
            batch = steps.setdefault(line["step"], {})
            new = dict(zip(line["rows"], line["ids"], strict=True))
            if line["step"] in seen or any(batch.get(row, new[row]) != new[row] for row in new):
                raise ValueError(f"step {line['step']} stands twice in {folder}, see {name}")
            seen.add(line["step"])
            batch.update(new)
    return {step: [batch[row] for row in sorted(batch)] for step, batch in sorted(steps.items())}
