"""Prepared text as a data set: segments made into masked pairs, masked texts, or pairs."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable

import numpy as np

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data import dataset
from fnet_jax.data.corpus import prepare
from fnet_jax.data.dataset import DatasetInfo
from fnet_jax.data.pipeline import PretrainBatches
from fnet_jax.runtime import hosts
from fnet_jax.tasks.labelled_dataset import PREPARE_TIMEOUT_S
from fnet_jax.tasks.metrics import HostSums, compute, merge
from fnet_jax.tasks.pretrain.baseline import UnigramBaseline


class PretrainDataset:
    """Prepared segments, made into masked pairs, or masked texts, or pairs."""

    labels: tuple[str, ...] = ()
    num_outputs = 0
    eval_splits: tuple[str, ...] = ("heldout",)
    warnings: tuple[str, ...] = ()
    not_whole = None

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
        """The means of the losses and accuracies say it all."""

    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """Nothing: there are no outputs."""
        return []

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
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
