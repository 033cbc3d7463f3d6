"""What the data sets of all labelled tasks have in common: tokenizer, splits, batches."""

import abc
import functools
import os
from collections.abc import Sized
from typing import Any

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE, workdir_of
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from fnet_jax.runtime import hosts
from fnet_jax.tasks.features import ExampleBatches
from fnet_jax.tasks.interface import Dataset
from fnet_jax.tasks.splits import TaskData

PREPARE_TIMEOUT_S = 24 * 3600.0  # the others wait as long as process 0 gives signs of life


class LabelledDataset(Dataset):
    """A labelled task's data set; a subclass says how a kind of task makes and scores its examples.

    Attributes:
        data: all splits.
        task: its row of `TASKS`.
        tokenizer: of the model.
    """

    def __init__(self, config: Config, workdir: str, data: TaskData[Any]):
        """Finds the tokenizer for data that were read.

        The tokenizer is that of the workdir; else that of `init_from`; else `data.tokenizer`; else one is
        trained on the training split and left in the workdir.
        """
        self.config, self.data, self.task, self.labels = config, data, data.task, data.labels
        self.num_outputs = self.task.num_outputs(self.labels)
        self.eval_splits = tuple(
            name
            for name in self.task.validation_splits
            if name in data.splits and data.splits[name].is_labelled
        )
        self.not_whole = [name for name, split in data.splits.items() if not split.is_whole]
        find = functools.partial(_find_or_train_tokenizer, config, workdir, data)
        hosts.run_on_primary(find, "find or train the tokenizer", PREPARE_TIMEOUT_S)
        self.tokenizer_path = find()
        self.tokenizer: Tokenizer = load_tokenizer(self.tokenizer_path)
        self.vocab_size = self.tokenizer.vocab_size
        self.warnings = (*data.warnings, *self.length_warnings())

    def fingerprint(self) -> dict[str, str]:
        """See `Dataset`."""
        found = {"tokenizer": self.tokenizer.sha256[:12], "labels": ", ".join(self.labels)}
        return found | {f"split {name!r}": split.digest() for name, split in self.data.splits.items()}

    def num_examples(self, split: str) -> int:
        """See `Dataset`."""
        return len(self.encoded(split))

    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> ExampleBatches:
        """See `Dataset`."""
        return self.make_batches(
            self.data.split(split),
            self.encoded(split),
            max_seq_length=self.config.model.max_seq_length,
            batch_size=batch_size,
            seed=self.config.seed,
            train=split == "train",
            rows=rows,
        )

    def encoded(self, split: str) -> Any:
        """What `encode` makes of a split.

        Raises:
            UserError: if there is no such split.
        """
        self.data.split(split)
        return self._encoded[split]

    @functools.cached_property
    def _encoded(self) -> dict[str, Sized]:
        return {name: self.encode(split) for name, split in self.data.splits.items()}

    def encode(self, split: Any) -> Sized:
        """The examples of a split, as tokens where they must be cut into windows to be counted."""
        return split

    @abc.abstractmethod
    def make_batches(
        self, split: Any, encoded: Any, *, max_seq_length: int, **options: Any
    ) -> ExampleBatches:
        """The batches of a split, and what `encode` made of it; `options` are those of `ExampleBatches`."""

    @abc.abstractmethod
    def length_warnings(self) -> list[str]:
        """What a person should know about examples that are longer than the model."""


def find_tokenizer(config: Config, workdir: str) -> str:
    """That of the workdir; else that of `init_from`; else `data.tokenizer`; "" if one is to be trained.

    Raises:
        UserError: if `data.tokenizer` is another one, or `init_from` has none.
    """
    own = os.path.join(workdir, TOKENIZER_FILE)
    source = os.path.join(workdir_of(config.init_from), TOKENIZER_FILE) if config.init_from else ""
    for path, name in ((own, f"--workdir={workdir}"), (source, f"init_from={config.init_from}")):
        if path and os.path.exists(path):
            _check_same(config, path, name)
            return path
    if config.init_from and not config.data.tokenizer:
        raise UserError(
            f"init_from={config.init_from} holds no {TOKENIZER_FILE}; give its tokenizer as data.tokenizer"
        )
    return config.data.tokenizer


def _find_or_train_tokenizer(config: Config, workdir: str, data: TaskData[Any]) -> str:
    if found := find_tokenizer(config, workdir):
        return found
    own, given, train = os.path.join(workdir, TOKENIZER_FILE), config.data, data.split("train")
    print(f"training a tokenizer of {given.tokenizer_pieces} pieces on {len(train):,} examples ...")
    os.makedirs(workdir, exist_ok=True)
    train_tokenizer(train.texts_to_learn(), own, given.tokenizer_pieces, given.tokenizer_algorithm)
    return own


def _check_same(config: Config, path: str, name: str) -> None:
    given = config.data.tokenizer
    if given and load_tokenizer(given).sha256 != load_tokenizer(path).sha256:
        raise UserError(
            f"data.tokenizer={given} is not the tokenizer of {name}, which the embeddings belong to; "
            "leave it out"
        )
