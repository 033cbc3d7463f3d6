"""The data of a run on this host: which splits there are, their batches, the tokenizer."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from fnet_jax.core import hosts
from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import workdir_of
from fnet_jax.data import dataset, prepare
from fnet_jax.data.dataset import TOKENIZER_FILE, DatasetInfo
from fnet_jax.data.features import LabelledBatches, truncated_share
from fnet_jax.data.labelled import LabelledData, open_labelled
from fnet_jax.data.pipeline import Batches, PretrainBatches
from fnet_jax.data.tasks import TASKS
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from fnet_jax.train.baseline import UnigramBaseline
from fnet_jax.train.metrics import HostSums, compute, merge
from fnet_jax.train.scores import Scores, score

PREPARE_TIMEOUT_S = 24 * 3600.0  # process 0 still lives as long as its heart beats


class Dataset(Protocol):
    """What the loop and the evaluation need of a task's data.

    Attributes:
        tokenizer_path: of the SentencePiece model.
        vocab_size: V.
        labels: names of the classes in the order of their ids; () without classes.
        num_outputs: C of the classifier; 0 without one.
        eval_splits: that can be evaluated; the first one is evaluated during training.
        remarks: sentences that a person should read once.
    """

    tokenizer_path: str
    vocab_size: int
    labels: tuple[str, ...]
    num_outputs: int
    eval_splits: tuple[str, ...]
    remarks: tuple[str, ...]

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
    return PretrainDataset(config, workdir) if config.task == "pretrain" else LabelledDataset(config, workdir)


class PretrainDataset:
    """Prepared segments, made into masked pairs."""

    labels: tuple[str, ...] = ()
    num_outputs = 0
    eval_splits: tuple[str, ...] = ("heldout",)
    remarks: tuple[str, ...] = ()

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
        )

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> None:
        """Means say it all."""

    def baseline(self, split: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Guesses without context: `UnigramBaseline`."""
        baseline = UnigramBaseline.from_dataset(self._directory, self._config.data)
        total: HostSums = {}
        for batch in batches:
            total = merge(total, baseline.sums(batch))
        everywhere: HostSums = {}
        for part in hosts.exchange(json.dumps(total)):
            everywhere = merge(everywhere, json.loads(part))
        return compute(everywhere)


class LabelledDataset:
    """Texts or pairs of texts with labels."""

    def __init__(self, config: Config, workdir: str):
        """Reads the files of the task, and finds the tokenizer.

        The tokenizer is that of the workdir; else that of `init_from`; else `data.tokenizer`; else one is
        trained on the training split and left in the workdir.
        """
        self._config = config
        self.data: LabelledData = open_labelled(config.task, config.data, config.seed)
        self.task = TASKS[config.task]
        self.labels = self.data.labels
        self.num_outputs = 1 if self.task.regression else len(self.labels)
        self.eval_splits = tuple(
            name
            for name in self.task.validation_splits
            if name in self.data.splits and self.data.splits[name].labels is not None
        )
        self.tokenizer_path = _tokenizer_once(config, workdir, self.data)
        self._tokenizer: Tokenizer = load_tokenizer(self.tokenizer_path)
        self.vocab_size = self._tokenizer.vocab_size
        self.remarks = (*self.data.remarks, *self._cut_texts())

    def fingerprint(self) -> dict[str, str]:
        """See `Dataset`."""
        found = {"tokenizer": self._tokenizer.sha256[:12], "labels": ", ".join(self.labels)}
        for name, split in self.data.splits.items():
            digest = hashlib.sha256()
            labels = [] if split.labels is None else split.labels.tolist()
            for column in (split.texts, split.texts_b or [], labels):
                digest.update(json.dumps(list(column)).encode())
            found[f"split {name!r}"] = digest.hexdigest()[:12]
        return found

    def num_examples(self, split: str) -> int:
        """See `Dataset`."""
        return len(self.data.split(split))

    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> LabelledBatches:
        """See `Dataset`."""
        return LabelledBatches(
            self.data.split(split),
            self._tokenizer,
            self._config.data,
            regression=self.task.regression,
            max_seq_length=self._config.model.max_seq_length,
            batch_size=batch_size,
            seed=self._config.seed,
            train=split == "train",
            rows=rows,
        )

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores:
        """The task's metrics over the examples that the outputs are for."""
        labels, logits_NC = self.data.split(split).labels, outputs["logits"]
        return score(self.task, None if labels is None else labels[: len(logits_NC)], logits_NC, self.labels)

    def _cut_texts(self) -> list[str]:
        """A remark if some training examples are longer than the model."""
        length = self._config.model.max_seq_length
        train = self.data.splits.get("train")
        share = truncated_share(train, self._tokenizer, length) if train else 0.0
        if not share:
            return []
        how = self._config.data.truncation
        return [
            f"about {share:.1%} of the training examples are cut to {length} pieces (data.truncation={how!r})"
        ]

    def baseline(self, split: str, batches: Iterable[Batch]) -> dict[str, float]:
        """Part of `score`: the majority class."""
        return {}


def _prepared(config: Config, workdir: str) -> DatasetInfo:
    """Prepares the data set once where the hosts share its folder, otherwise on each of them."""
    directory = prepare.dataset_dir(config.data, workdir)

    def ensure() -> DatasetInfo:
        return prepare.ensure(config.data, config.model.max_seq_length, workdir)

    if all(hosts.exchange("there" if dataset.exists(directory) else "")):
        return ensure()
    if hosts.blind(directory):
        hosts.say(f"the hosts do not share {directory}; each prepares its own")
        return ensure()
    if not hosts.is_first():
        print(f"process {hosts.index()} waits while process 0 prepares {directory}", flush=True)
    hosts.first_does(ensure, f"prepare {directory}", PREPARE_TIMEOUT_S)
    return ensure()


def _tokenizer_once(config: Config, workdir: str, data: LabelledData) -> str:
    """`_tokenizer_path`; where one is to be trained, process 0 does it."""

    def find() -> str:
        return _tokenizer_path(config, workdir, data)

    hosts.first_does(find, "find or train the tokenizer", PREPARE_TIMEOUT_S)
    return find()


def _tokenizer_path(config: Config, workdir: str, data: LabelledData) -> str:
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
    train = data.split("train")
    print(f"training a tokenizer of {config.data.tokenizer_pieces} pieces on {len(train):,} examples ...")
    os.makedirs(workdir, exist_ok=True)
    lines = [*train.texts, *(train.texts_b or [])]
    train_tokenizer(lines, own, config.data.tokenizer_pieces, config.data.tokenizer_algorithm)
    return own


def _check_same(config: Config, path: str, name: str) -> None:
    given = config.data.tokenizer
    if given and load_tokenizer(given).sha256 != load_tokenizer(path).sha256:
        raise UserError(
            f"data.tokenizer={given} is not the tokenizer of {name}, which the embeddings belong to; "
            "leave it out"
        )


def _known(split: str, valid: tuple[str, ...]) -> str:
    if split not in valid:
        raise UserError(f"split {split!r} is unknown; valid: {', '.join(valid)}")
    return split
