"""The data of a run on this host: which splits there are, their batches, the tokenizer."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config, Head
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data import dataset
from fnet_jax.data.corpus import prepare
from fnet_jax.data.dataset import DatasetInfo
from fnet_jax.data.pipeline import Batches, PretrainBatches
from fnet_jax.runtime import hosts
from fnet_jax.tasks.answer.dataset import AnswerDataset
from fnet_jax.tasks.classify.dataset import ChoiceDataset, TextDataset
from fnet_jax.tasks.dataset import PREPARE_TIMEOUT_S, LabelledDataset
from fnet_jax.tasks.scores import Scores
from fnet_jax.tasks.table import TASKS
from fnet_jax.tasks.tag.dataset import TagDataset
from fnet_jax.train.baseline import UnigramBaseline
from fnet_jax.train.metrics import HostSums, compute, merge

# The data sets of labelled tasks, by the head of the model.
KINDS: dict[Head, type[LabelledDataset]] = {
    "sequence": TextDataset,
    "tokens": TagDataset,
    "choice": ChoiceDataset,
    "span": AnswerDataset,
}


class Dataset(Protocol):
    """What the loop and the evaluation need of a task's data.

    Attributes:
        tokenizer_path: of the SentencePiece model.
        vocab_size: V.
        labels: names of the classes in the order of their ids; () without classes.
        num_outputs: C of the classifier; 0 without one.
        eval_splits: that can be evaluated; the first one is evaluated during training.
        warnings: sentences that a person should read once.
    """

    tokenizer_path: str
    vocab_size: int
    labels: tuple[str, ...]
    num_outputs: int
    eval_splits: tuple[str, ...]
    warnings: tuple[str, ...]

    def fingerprint(self) -> dict[str, str]:
        """What must be equal on all hosts for their batches to belong together, by name."""
        ...

    def num_examples(self, split: str) -> int:
        """Examples of a split, on all hosts together.

        Raises:
            UserError: if there is no such split.
        """
        ...

    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> Batches:
        """The given rows of the batches of a split, by default all; "train" goes on epoch after epoch."""
        ...

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores | None:
        """Scores of outputs for the first examples of a split; None where means of sums say it all."""
        ...

    def baseline(self, split: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Metrics over all hosts that can be had without a model, where they are not part of `score`."""
        ...


def open_dataset(config: Config, workdir: str) -> Dataset:
    """The data of the config's task; prepares what is to be prepared.

    Raises:
        UserError: whatever does not fit.
    """
    if config.is_pretraining:
        return PretrainDataset(config, workdir)
    return KINDS[TASKS[config.task].head](config, workdir)


class PretrainDataset:
    """Prepared segments, made into masked pairs, or masked texts, or pairs."""

    labels: tuple[str, ...] = ()
    num_outputs = 0
    eval_splits: tuple[str, ...] = ("heldout",)
    warnings: tuple[str, ...] = ()

    def __init__(self, config: Config, workdir: str):
        """Prepares the data set if it is absent."""
        self._config = config
        self._directory = prepare.dataset_dir(config.data, workdir)
        self._info = _prepared(config, workdir)
        self.tokenizer_path = os.path.join(self._directory, TOKENIZER_FILE)
        self.vocab_size = self._info.vocab_size

    def fingerprint(self) -> dict[str, str]:
        """See `Dataset`."""
        text = json.dumps(dataclasses.asdict(self._info), sort_keys=True)
        return {f"data set {self._directory}": hashlib.sha256(text.encode()).hexdigest()[:12]}

    def num_examples(self, split: str) -> int:
        """See `Dataset`."""
        return self._info.splits[_known(split, tuple(self._info.splits))].segments

    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> PretrainBatches:
        """See `Dataset`."""
        self.num_examples(split)
        return PretrainBatches(
            self._directory,
            "train" if split == "train" else "heldout",
            self._config.data,
            max_seq_length=self._config.model.max_seq_length,
            batch_size=batch_size,
            seed=self._config.seed,
            rows=rows,
            task=self._config.task,
        )

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> None:
        """Means say it all."""

    def baseline(self, split: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Guesses without context: `UnigramBaseline`."""
        if self._config.task == "next_sentence":
            return {}
        baseline = UnigramBaseline.from_dataset(self._directory, self._config.data)
        total: HostSums = {}
        for batch in batches:
            total = merge(total, baseline.sums(batch))
        everywhere: HostSums = {}
        for part in hosts.all_gather(json.dumps(total)):
            everywhere = merge(everywhere, json.loads(part))
        return compute(everywhere)


def _prepared(config: Config, workdir: str) -> DatasetInfo:
    """Prepares the data set once where the hosts share its folder, otherwise on each of them."""
    directory = prepare.dataset_dir(config.data, workdir)

    def ensure() -> DatasetInfo:
        return prepare.ensure(config.data, config.model.max_seq_length, workdir)

    if all(hosts.all_gather("there" if dataset.exists(directory) else "")):
        return ensure()
    if hosts.processes_without(directory):
        hosts.print_once(f"the hosts do not share {directory}; each prepares its own")
        return ensure()
    if not hosts.is_primary():
        print(f"process {hosts.index()} waits while process 0 prepares {directory}", flush=True)
    hosts.run_on_primary(ensure, f"prepare {directory}", PREPARE_TIMEOUT_S)
    return ensure()


def _known(split: str, valid: tuple[str, ...]) -> str:
    if split not in valid:
        raise UserError(f"split {split!r} is unknown; valid: {', '.join(valid)}")
    return split
