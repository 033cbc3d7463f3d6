"""What a kind of task gives to training and evaluation, which know nothing else of it.

`Objective` works on the devices: model, sums, loss. `Dataset` works on the host: batches, scores, files.
`Kind` holds the two together; each folder beside this file has one.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fnet_jax.core.batch import Batch, BatchSpec
from fnet_jax.core.config import Config, DataConfig, Head
from fnet_jax.data.pipeline import Batches
from fnet_jax.nn.losses import mean
from fnet_jax.tasks.metrics import Normalizers, Sums, Variables
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import Task

# Per example what is to be scored over a whole split, such as `logits` [B, C].
Outputs = Mapping[str, jax.Array]
Reader = Callable[[Task, DataConfig], TaskData[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """A kind of task on the devices; its methods are pure functions.

    Attributes:
        model: the encoder with the head of the task.
        batch_spec: shapes and dtypes of a batch of so many examples.
        evaluate: metric sums and outputs, from the model's logits and the batch.
        losses: names of the sums whose means add up to the loss, and the field of the batch that weighs each.
        inputs: the fields of the batch that the model takes, in their order.
        predictions: P, masked positions per example that the head works on; 0 without masked LM.
        sequences: of length L per example: K for multiple choice, otherwise 1.
    """

    model: nn.Module
    batch_spec: Callable[[int], BatchSpec]
    evaluate: Callable[[Any, Batch], tuple[Sums, Outputs]]
    losses: Mapping[str, str]
    inputs: tuple[str, ...] = ("input_ids", "type_ids")
    predictions: int = 0
    sequences: int = 1

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables: `params`, and `constants` where the mixer has fixed matrices."""
        spec = self.batch_spec(1)
        zeros = (jnp.zeros(spec[name].shape, spec[name].dtype) for name in self.inputs)
        return self.model.init(key, *zeros, deterministic=True)

    def apply(
        self, variables: Variables, batch: Batch, dropout_key: jax.Array | None = None
    ) -> tuple[Sums, Outputs]:
        """Metric sums over the batch, and outputs; without a `dropout_key` the model is deterministic."""
        logits = self.model.apply(
            variables,
            *(batch[name] for name in self.inputs),
            deterministic=dropout_key is None,
            rngs={} if dropout_key is None else {"dropout": dropout_key},
        )
        return self.evaluate(logits, batch)

    def normalizers(self, batch: Batch) -> Normalizers:
        """The denominators of the losses over the whole batch.

        When a batch is worked off in parts, the normalizers of the whole make the losses and gradients of
        the parts add up to those of the whole.
        """
        return {name: jnp.sum(batch[weights]) for name, weights in self.losses.items()}

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """The scalar to minimise: the means of the losses, added up; 0 for one with no weight at all."""
        first, *others = (mean((sums[name][0], normalizers[name])) for name in self.losses)
        return sum(others, first)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of one split.

    Attributes:
        values: the task's metrics, and `score`, which chooses checkpoints; nan where one is not defined;
            empty without labels.
        baseline: the same of an answer that needs no model; empty where there is none.
        warnings: sentences on what makes the values no result.
    """

    values: dict[str, float]
    baseline: dict[str, float]
    warnings: tuple[str, ...]


class Dataset(abc.ABC):
    """The data of a run on this host.

    Attributes:
        tokenizer_path: of the SentencePiece model.
        vocab_size: V.
        labels: names of the classes in the order of their ids; () without classes.
        num_outputs: C of the classifier; 0 without one.
        eval_splits: that can be evaluated; the first one is evaluated during training.
        warnings: sentences that a person should read once.
        not_whole: splits that lack some of their official examples; None where no sizes are official.
    """

    tokenizer_path: str
    vocab_size: int
    labels: tuple[str, ...] = ()
    num_outputs: int = 0
    eval_splits: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    not_whole: list[str] | None = None

    @abc.abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What must be equal on all hosts for their batches to belong together, by name."""

    @abc.abstractmethod
    def num_examples(self, split: str) -> int:
        """Examples of a split, on all hosts together; windows where texts are cut into some.

        Raises:
            UserError: if there is no such split.
        """

    @abc.abstractmethod
    def batches(self, split: str, *, batch_size: int, rows: tuple[int, ...] | None = None) -> Batches:
        """The given rows of the batches of a split, by default all; "train" goes on epoch after epoch."""

    def score(self, split: str, outputs: dict[str, np.ndarray]) -> Scores | None:
        """Scores of outputs for the first examples of a split; None where the means of sums say it all."""
        return None

    def baseline(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Metrics over all hosts that can be had without a model, where `score` gives None."""
        return {}

    def write_predictions(
        self, split: str, outputs: dict[str, np.ndarray], workdir: str, step: int
    ) -> list[str]:
        """Leaves in the workdir what the model says of each example; returns lines that say where."""
        return []


@dataclasses.dataclass(frozen=True)
class Kind:
    """What `kinds.KINDS` says of a kind of task.

    Attributes:
        head: of the model, as `nn/heads.py` and saved models name it.
        objective: takes the config and the model.
        dataset: takes the config and the workdir; of a labelled task also the data that `read` gave.
        read: reads the labelled splits of a task; None for pretraining.
        read_pydocs: the same from the embedded corpus, data.corpus='pydocs'.
    """

    head: Head
    objective: Callable[[Config, nn.Module], Objective]
    dataset: Callable[..., Dataset]
    read: Reader | None = None
    read_pydocs: Reader | None = None
