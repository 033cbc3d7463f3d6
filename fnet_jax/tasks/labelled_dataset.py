"""What the data sets of all labelled tasks have in common: files, tokenizer, splits."""

import abc
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE, workdir_of
from fnet_jax.data.pipeline import Batches
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from fnet_jax.runtime import hosts
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.splits import TaskData

PREPARE_TIMEOUT_S = 24 * 3600.0  # process 0 still lives as long as its heart beats


class LabelledDataset(abc.ABC):
    """What all data sets of labelled tasks have in common; a subclass says how a kind of task does the rest.

    Attributes:
        data: all splits.
        task: its row of `TASKS`.
        tokenizer: of the model.
    """

    def __init__(self, config: Config, workdir: str, data: TaskData):
        """Finds the tokenizer for data that were read.

        The tokenizer is that of the workdir; else that of `init_from`; else `data.tokenizer`; else one is
        trained on the training split and left in the workdir.
        """
        self.config = config
        self.data = data
        self.task = data.task
        self.labels = self.data.labels
        self.num_outputs = self.task.num_outputs(self.labels)
        self.eval_splits = tuple(
            name
            for name in self.task.validation_splits
            if name in self.data.splits and self.data.splits[name].is_labelled
        )
        self.tokenizer_path = _tokenizer_once(config, workdir, self.data)
        self.tokenizer: Tokenizer = load_tokenizer(self.tokenizer_path)
        self.vocab_size = self.tokenizer.vocab_size
        self.warnings = (*self.data.warnings, *self.length_warnings())

    def fingerprint(self) -> dict[str, str]:
        """What must be equal on all hosts, by name."""
        found = {"tokenizer": self.tokenizer.sha256[:12], "labels": ", ".join(self.labels)}
        return found | {f"split {name!r}": split.digest() for name, split in self.data.splits.items()}

    def num_examples(self, split: str) -> int:
        """Examples of a split, or windows where texts are cut into some."""
        return len(self.data.split(split))

    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> Batches:
        """The given rows of the batches of a split."""
        options = {
            "batch_size": batch_size,
            "seed": self.config.seed,
            "train": split == "train",
            "rows": rows,
        }
        return self.make_batches(split, max_seq_length=self.config.model.max_seq_length, **options)

    @abc.abstractmethod
    def make_batches(self, split: str, **options: Any) -> Batches:
        """The batches of a split; `options` are those of `features.ExampleBatches`, and L."""

    @abc.abstractmethod
    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores:
        """The task's metrics over the examples that the outputs are for."""

    @abc.abstractmethod
    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """Leaves in the workdir what the model says of each example; returns lines that say where."""

    def length_warnings(self) -> list[str]:
        """What a person should know about examples that are longer than the model."""
        return []

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Part of `score`."""
        return {}

    @property
    def not_whole(self) -> list[str]:
        """See `interface.Dataset`."""
        return [name for name, split in self.data.splits.items() if not split.is_whole]


def _tokenizer_once(config: Config, workdir: str, data: TaskData) -> str:
    """`_tokenizer_path`; where one is to be trained, process 0 does it."""

    def find() -> str:
        return _tokenizer_path(config, workdir, data)

    hosts.run_on_primary(find, "find or train the tokenizer", PREPARE_TIMEOUT_S)
    return find()


def _tokenizer_path(config: Config, workdir: str, labelled: TaskData) -> str:
    """See `LabelledDataset`."""
    own = os.path.join(workdir, TOKENIZER_FILE)
    source = os.path.join(workdir_of(config.init_from), TOKENIZER_FILE) if config.init_from else ""
    for path, name in ((own, f"--workdir={workdir}"), (source, f"init_from={config.init_from}")):
        if path and os.path.exists(path):
            _check_same(config, path, name)
            return path
    if config.data.tokenizer:
        return config.data.tokenizer
    if config.init_from:
        raise UserError(
            f"init_from={config.init_from} holds no {TOKENIZER_FILE}; give its tokenizer as data.tokenizer"
        )
    train = labelled.split("train")
    print(f"training a tokenizer of {config.data.tokenizer_pieces} pieces on {len(train):,} examples ...")
    os.makedirs(workdir, exist_ok=True)
    data = config.data
    train_tokenizer(train.texts_to_learn(), own, data.tokenizer_pieces, data.tokenizer_algorithm)
    return own


def _check_same(config: Config, path: str, name: str) -> None:
    given = config.data.tokenizer
    if given and load_tokenizer(given).sha256 != load_tokenizer(path).sha256:
        raise UserError(
            f"data.tokenizer={given} is not the tokenizer of {name}, which the embeddings belong to; "
            "leave it out"
        )
