"""What the step and the evaluation need to know of a task: its model, its sums, its loss."""

from collections.abc import Mapping
from typing import Any, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.batch import Batch, BatchSpec, labelled_spec, pretrain_spec
from fnet_jax.core.config import Config
from fnet_jax.core.schema import Head
from fnet_jax.data.tasks import TASKS
from fnet_jax.nn.heads import make_model
from fnet_jax.nn.losses import label_sums, mean, pretrain_loss, pretrain_normalizers, pretrain_sums
from fnet_jax.train.metrics import Normalizers, Sums, Variables

# Per example what is to be scored over a whole split, such as `logits` [B, C].
Outputs = Mapping[str, jax.Array]


class Objective(Protocol):
    """A kind of task on the devices; all but the model are pure functions.

    Attributes:
        model: the encoder with the head of the task.
        losses: names of the sums whose means add up to the loss.
        predictions: P, masked positions per example that the head works on; 0 without masked LM.
    """

    model: nn.Module
    losses: tuple[str, ...]
    predictions: int

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """Shapes and dtypes of a batch of `batch_size` examples."""
        ...

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables: `params`, and `constants` where the mixer has fixed matrices."""
        ...

    def apply(
        self, variables: Variables, batch: Batch, dropout_key: jax.Array | None = None
    ) -> tuple[Sums, Outputs]:
        """Metric sums over the batch, and outputs; without a `dropout_key` the model is deterministic."""
        ...

    def normalizers(self, batch: Batch) -> Normalizers:
        """The denominators of the loss over the whole batch, whatever part of it is worked off."""
        ...

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """The scalar to minimise."""
        ...


def head_of(config: Config) -> Head:
    """The head that the config's task puts on the encoder."""
    return "pretrain" if config.task == "pretrain" else "sequence"


def make_objective(config: Config) -> Objective:
    """The objective of the config's task; `vocab_size` and `num_outputs` are filled in."""
    return Pretraining(config) if config.task == "pretrain" else Labelled(config)


class Pretraining:
    """Masked LM and next sentence."""

    model: nn.Module
    losses: tuple[str, ...] = ("masked_lm_loss", "next_sentence_loss")

    def __init__(self, config: Config):
        self.model = make_model(head_of(config), config.model)
        self.predictions = config.data.max_predictions_per_seq
        self._length = config.model.max_seq_length

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.pretrain_spec`."""
        return pretrain_spec(batch_size, self._length, self.predictions)

    def init(self, key: jax.Array) -> Variables:
        """See `Objective`."""
        batch = _zeros(self.batch_spec(1))
        return self.model.init(
            key, batch["input_ids"], batch["type_ids"], batch["masked_lm_positions"], deterministic=True
        )

    def apply(
        self, variables: Variables, batch: Batch, dropout_key: jax.Array | None = None
    ) -> tuple[Sums, Outputs]:
        """Sums of `losses.pretrain_sums`; no outputs, since means say it all."""
        logits: Any = self.model.apply(
            variables,
            batch["input_ids"],
            batch["type_ids"],
            batch["masked_lm_positions"],
            deterministic=dropout_key is None,
            rngs=_rngs(dropout_key),
        )
        return pretrain_sums(logits, batch), {}

    def normalizers(self, batch: Batch) -> Normalizers:
        """See `losses.pretrain_normalizers`."""
        return pretrain_normalizers(batch)

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """MLM sum / MLM count + NSP sum / NSP count."""
        return pretrain_loss(sums, normalizers)


class Labelled:
    """One label per text or pair of texts: a class, by cross-entropy, or a number, by squared error."""

    model: nn.Module
    losses: tuple[str, ...]
    predictions = 0

    def __init__(self, config: Config):
        self.regression = TASKS[config.task].regression
        self.losses = ("squared_error",) if self.regression else ("cross_entropy",)
        self.model = make_model(head_of(config), config.model)
        self._length = config.model.max_seq_length

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.labelled_spec`."""
        return labelled_spec(batch_size, self._length, self.regression)

    def init(self, key: jax.Array) -> Variables:
        """See `Objective`."""
        batch = _zeros(self.batch_spec(1))
        return self.model.init(key, batch["input_ids"], batch["type_ids"], deterministic=True)

    def apply(
        self, variables: Variables, batch: Batch, dropout_key: jax.Array | None = None
    ) -> tuple[Sums, Outputs]:
        """Sums of `losses.label_sums`; output `logits` f32[B, C]."""
        logits_BC: Any = self.model.apply(
            variables,
            batch["input_ids"],
            batch["type_ids"],
            deterministic=dropout_key is None,
            rngs=_rngs(dropout_key),
        )
        return label_sums(logits_BC, batch), {"logits": logits_BC}

    def normalizers(self, batch: Batch) -> Normalizers:
        """The number of examples that count."""
        return {self.losses[0]: jnp.sum(batch["example_weights"])}

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """The mean over the examples."""
        (name,) = self.losses
        return mean((sums[name][0], normalizers[name]))


def _zeros(spec: BatchSpec) -> dict[str, jax.Array]:
    return {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in spec.items()}


def _rngs(dropout_key: jax.Array | None) -> dict[str, jax.Array]:
    return {} if dropout_key is None else {"dropout": dropout_key}
