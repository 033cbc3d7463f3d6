"""Prepared text as a data set: segments made into masked pairs, masked texts, or pairs."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data import dataset
from fnet_jax.data.corpus import prepare
from fnet_jax.data.dataset import DatasetInfo
from fnet_jax.data.pipeline import PretrainBatches
from fnet_jax.runtime import hosts
from fnet_jax.tasks.interface import Dataset
from fnet_jax.tasks.labelled import PREPARE_TIMEOUT_S
from fnet_jax.tasks.metrics import compute, merge_all
from fnet_jax.tasks.pretrain.baseline import UnigramBaseline


class PretrainDataset(Dataset):
    """Prepared segments, made into masked pairs, or masked texts, or pairs."""

    eval_splits = ("heldout",)

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
        splits = self._info.splits
        if split not in splits:
            raise UserError(f"split {split!r} is unknown; valid: {', '.join(splits)}")
        return splits[split].segments

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

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Guesses without context: `UnigramBaseline`."""
        if self._config.task == "next_sentence":
            return {}
        baseline = UnigramBaseline.from_dataset(self._directory, self._config.data)
        own = merge_all(map(baseline.sums, batches))
        return compute(merge_all(hosts.all_gather(own)))


def _prepared(config: Config, workdir: str) -> DatasetInfo:
    """Prepares the data set once where the hosts share its folder, otherwise on each of them."""
    directory = prepare.dataset_dir(config.data, workdir)

    def ensure() -> DatasetInfo:
        return prepare.prepare(config.data, config.model.max_seq_length, directory)

    if all(hosts.all_gather(dataset.exists(directory))):
        return ensure()
    if hosts.processes_without(directory):
        hosts.print_once(f"the hosts do not share {directory}; each prepares its own")
        return ensure()
    if not hosts.is_primary():
        print(f"process {hosts.index()} waits while process 0 prepares {directory}", flush=True)
    hosts.run_on_primary(ensure, f"prepare {directory}", PREPARE_TIMEOUT_S)
    return ensure()
