"""What a folder is being prepared with: all processes that work on it, at once or later, must agree."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data.corpus.parts import NUM_HASHES, Job, is_done
from fnet_jax.data.corpus.sources import Source, open_source
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer, training_lines
from fnet_jax.runtime.lock import FileLock

PLAN_FILE = ".plan.json"

_LAYOUT = 2  # of the parts: another one where other documents come to lie in a part
# Records take at least so many bytes per byte of source. 100 novels take 0.5; what is skipped takes none.
_LEAST_RATIO = 0.1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be made.

    Attributes:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set.
        source: the corpus, opened.
        given: the tokenizer of the config; None: one is trained.
    """

    data: DataConfig
    max_seq_length: int
    directory: str
    source: Source
    given: Tokenizer | None

    @property
    def settings(self) -> dict[str, Any]:
        """All that the records depend on, by the name that a person knows."""
        return {
            "data.corpus": self.data.corpus,
            "data.text_field": self.data.text_field,
            "files of data.corpus": self.source.fingerprint,
            "data.tokenizer": tokenizer_spec(self.data),
            "sha256 of data.tokenizer": self.given.sha256 if self.given else "",
            "model.max_seq_length": self.max_seq_length,
            "data.holdout_fraction": self.data.holdout_fraction,
            "layout of the parts": [_LAYOUT, len(self.source.shards)],
        }

    def job(self, tokenizer: Tokenizer) -> Job:
        """What a worker needs to know."""
        digest = hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()[:16]
        threshold = int(self.data.holdout_fraction * NUM_HASHES)
        return Job(self.directory, tokenizer, self.max_seq_length, threshold, digest)


def open_plan(data: DataConfig, max_seq_length: int, directory: str) -> Plan:
    """Opens corpus and tokenizer, and writes nothing.

    Raises:
        UserError: if one of them cannot be used.
    """
    given = load_tokenizer(data.tokenizer) if data.tokenizer else None
    return Plan(data, max_seq_length, directory, open_source(data.corpus, data.text_field), given)


def tokenizer_spec(data: DataConfig) -> str:
    """How the tokenizer comes about, for a person."""
    return (
        data.tokenizer
        or f"{data.tokenizer_algorithm} of {data.tokenizer_pieces} pieces trained on the corpus"
    )


def require_same(directory: str, key: str, old: Any, new: Any) -> None:
    """Refuses to go on with a folder that was begun or finished otherwise."""
    if old != new:
        raise UserError(
            f"data.dir={directory} was prepared with {key}={old!r}, not {new!r}; give another data.dir"
        )


@contextlib.contextmanager
def lock(directory: str, shared: bool = False) -> Iterator[None]:
    """Keeps other processes out of a folder, or, shared, those that want it for themselves."""
    with contextlib.closing(FileLock(os.path.join(directory, ".lock"), shared)) as held:
        if not held.acquire():
            print(f"Waiting for another process that prepares {directory}", file=sys.stderr, flush=True)
            held.acquire(wait=True)
        yield


def begun_with(plan: Plan) -> int | None:
    """Checks that earlier attempts were to make the same.

    Returns:
        Into how many shards the last one divided the work; None if there was none.

    Raises:
        UserError: if they were to make something else.
    """
    path = os.path.join(plan.directory, PLAN_FILE)
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        begun = json.load(file)
    for key, new in plan.settings.items():
        require_same(plan.directory, key, begun.get(key), new)
    return begun["num_shards"]


def keep_plan(plan: Plan, num_shards: int) -> None:
    """Writes down what is being made, after checking that earlier attempts were to make the same.

    Args:
        plan: what is to be made.
        num_shards: into how many the work is divided. It may differ between attempts, and is kept so
            that a person can be told which ones are missing.
    """
    begun_with(plan)
    content = json.dumps({**plan.settings, "num_shards": num_shards})
    write_atomically(os.path.join(plan.directory, PLAN_FILE), content)


def keep_tokenizer(plan: Plan, progress: bool) -> Tokenizer:
    """The tokenizer, copied into the data set or trained there; one of an interrupted attempt is kept."""
    path = os.path.join(plan.directory, TOKENIZER_FILE)
    if plan.given:
        write_atomically(path, plan.given.model)
        return plan.given
    if os.path.exists(path):
        return load_tokenizer(path)
    if progress:
        print(f"Training a tokenizer: {tokenizer_spec(plan.data)}", file=sys.stderr)
    lines = training_lines(plan.source.shards)
    return train_tokenizer(lines, path, plan.data.tokenizer_pieces, plan.data.tokenizer_algorithm)


def missing_parts(job: Job, plan: Plan) -> list[int]:
    """The parts that are still to be made."""
    return [index for index in range(len(plan.source.shards)) if not is_done(job, index)]


def check_space(plan: Plan, parts: list[int]) -> None:
    """Refuses to begin what cannot end, for want of space on the disk."""
    least = _LEAST_RATIO * sum(plan.source.shards[index].size for index in parts)
    free = shutil.disk_usage(plan.directory).free
    if free < least:
        raise UserError(
            f"data.dir={plan.directory} has {free / 1e9:.1f} GB free, and what is to be prepared takes at "
            f"least {least / 1e9:.1f} GB; make room or give another folder"
        )


def clean_up(directory: str) -> None:
    """Removes what killed processes have left half-written; nobody else may be at work."""
    for name in os.listdir(directory):
        if name.startswith(".tmp-"):
            os.remove(os.path.join(directory, name))
