"""A data set that is being made: what from, how far it is, and who may work on its folder."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data.corpus.parts import NUM_HASHES, WorkerConfig, is_done
from fnet_jax.data.corpus.sources import Source, open_source
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer, training_lines
from fnet_jax.runtime.lock import FileLock

SETTINGS_FILE = ".plan.json"

_LAYOUT = 2  # of the parts; to be raised when other documents come to lie in a part
# Bytes of records per byte of source, at least. They are 0.5 for novels and 0 for documents that are skipped.
_LEAST_RATIO = 0.1


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is to be made; all processes that work on a folder, at once or later, must agree on it.

    Attributes:
        data: corpus, tokenizer and held-out share.
        max_seq_length: L.
        directory: of the data set.
        source: the corpus.
        given_tokenizer: the one that the config names; None: one is trained.
    """

    data: DataConfig
    max_seq_length: int
    directory: str
    source: Source
    given_tokenizer: Tokenizer | None

    @classmethod
    def open(cls, data: DataConfig, max_seq_length: int, directory: str) -> "Preparation":
        """Opens corpus and tokenizer, and writes nothing.

        Raises:
            UserError: if one of them cannot be used.
        """
        given = load_tokenizer(data.tokenizer) if data.tokenizer else None
        return cls(data, max_seq_length, directory, open_source(data.corpus, data.text_field), given)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the records depend on, by the name that a person knows."""
        return {
            "data.corpus": self.data.corpus,
            "data.text_field": self.data.text_field,
            "files of data.corpus": self.source.fingerprint,
            "data.tokenizer": tokenizer_spec(self.data),
            "sha256 of data.tokenizer": self.given_tokenizer.sha256 if self.given_tokenizer else "",
            "model.max_seq_length": self.max_seq_length,
            "data.holdout_fraction": self.data.holdout_fraction,
            "layout of the parts": [_LAYOUT, len(self.source.shards)],
        }

    def begin(self, num_shares: int, progress: bool) -> WorkerConfig:
        """Leaves settings and tokenizer in the folder, for all processes that go on with it.

        Args:
            num_shares: into how many the work is divided. It may differ between attempts, and is kept so that
                a person can be told which ones are missing.
            progress: whether to say on stderr that a tokenizer is trained.

        Raises:
            UserError: if the folder was begun with other settings.
        """
        self.num_shares()
        content = json.dumps({**self.settings, "num_shards": num_shares})
        write_atomically(os.path.join(self.directory, SETTINGS_FILE), content)
        return self.worker_config(self._save_tokenizer(progress))

    def num_shares(self) -> int | None:
        """Into how many shares the last attempt divided the work; None if there was none.

        Raises:
            UserError: if it was made with other settings.
        """
        path = os.path.join(self.directory, SETTINGS_FILE)
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            begun = json.load(file)
        for key, new in self.settings.items():
            require_same(self.directory, key, begun.get(key), new)
        return begun["num_shards"]

    def _save_tokenizer(self, progress: bool) -> Tokenizer:
        """The tokenizer, copied into the folder or trained there; one of an interrupted attempt is kept."""
        path = os.path.join(self.directory, TOKENIZER_FILE)
        if self.given_tokenizer:
            write_atomically(path, self.given_tokenizer.model)
            return self.given_tokenizer
        if os.path.exists(path):
            return load_tokenizer(path)
        if progress:
            print(f"Training a tokenizer: {tokenizer_spec(self.data)}", file=sys.stderr)
        lines = training_lines(self.source.shards)
        return train_tokenizer(lines, path, self.data.tokenizer_pieces, self.data.tokenizer_algorithm)

    def worker_config(self, tokenizer: Tokenizer) -> WorkerConfig:
        """What workers need to know."""
        digest = hashlib.sha256(json.dumps(self.settings).encode()).hexdigest()[:16]
        heldout_below = int(self.data.holdout_fraction * NUM_HASHES)
        return WorkerConfig(self.directory, tokenizer, self.max_seq_length, heldout_below, digest)

    def missing_parts(self, config: WorkerConfig) -> list[int]:
        """Indices of the parts that are still to be made."""
        return [index for index in range(len(self.source.shards)) if not is_done(config, index)]

    def check_space(self, parts: Sequence[int]) -> None:
        """Refuses to begin with parts for which the disk has no room.

        Raises:
            UserError: saying how much there is, and how much is needed.
        """
        least = _LEAST_RATIO * sum(self.source.shards[index].size for index in parts)
        free = shutil.disk_usage(self.directory).free
        if free < least:
            raise UserError(
                f"data.dir={self.directory} has {free / 1e9:.1f} GB free, and what is to be prepared takes "
                f"at least {least / 1e9:.1f} GB; make room or give another folder"
            )

    @contextlib.contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Keeps other processes out of the folder, or, shared, those that want it for themselves."""
        with contextlib.closing(FileLock(os.path.join(self.directory, ".lock"), shared)) as lock:
            if not lock.acquire():
                print(
                    f"Waiting for another process that prepares {self.directory}", file=sys.stderr, flush=True
                )
                lock.acquire(wait=True)
            yield

    def clean_up(self) -> None:
        """Removes the unfinished files of killed processes; no other process may be at work."""
        for name in os.listdir(self.directory):
            if name.startswith(".tmp-"):
                os.remove(os.path.join(self.directory, name))


def tokenizer_spec(data: DataConfig) -> str:
    """Where the tokenizer comes from, in words."""
    return (
        data.tokenizer
        or f"{data.tokenizer_algorithm} of {data.tokenizer_pieces} pieces trained on the corpus"
    )


def require_same(directory: str, key: str, old: Any, new: Any) -> None:
    """Refuses to go on with a folder that was begun or finished with another value of `key`."""
    if old != new:
        raise UserError(
            f"data.dir={directory} was prepared with {key}={old!r}, not {new!r}; give another data.dir"
        )
