"""What the step and the evaluation need to know of a task: its model, its sums, its loss."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.batch import (
    Batch,
    BatchSpec,
    choice_spec,
    labelled_spec,
    masked_lm_spec,
    pretrain_spec,
    span_spec,
    tokens_spec,
)
from fnet_jax.core.config import Config, Head
from fnet_jax.nn.heads import make_model
from fnet_jax.nn.losses import (
    label_sums,
    masked_lm_sums,
    pretrain_normalizers,
    pretrain_sums,
    span_sums,
    sum_of_means,
)
from fnet_jax.tasks.table import TASKS
from fnet_jax.train.metrics import Normalizers, Sums, Variables

# Per example what is to be scored over a whole split, such as `logits` [B, C].
Outputs = Mapping[str, jax.Array]


class Objective(Protocol):
    """A kind of task on the devices; all but the model are pure functions.

    Attributes:
        model: the encoder with the head of the task.
        losses: names of the sums whose means add up to the loss.
        predictions: P, masked positions per example that the head works on; 0 without masked LM.
        sequences: of length L per example: K for multiple choice, otherwise 1.
    """

    model: nn.Module
    losses: tuple[str, ...]
    predictions: int
    sequences: int

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
    return cast(Head, config.task) if config.is_pretraining else TASKS[config.task].head


def make_objective(config: Config) -> Objective:
    """The objective of the config's task; `vocab_size` and `num_outputs` are filled in."""
    kinds: dict[Head, Callable[[Config], Objective]] = {
        "pretrain": Pretraining,
        "masked_lm": MaskedLM,
        "next_sentence": Labelled,
        "sequence": Labelled,
        "tokens": Tokens,
        "choice": Choice,
        "span": Span,
    }
    return kinds[head_of(config)](config)


class Pretraining:
    """Masked LM and next sentence."""

    model: nn.Module
    losses: tuple[str, ...] = ("masked_lm_loss", "next_sentence_loss")
    sequences = 1

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
        """Sums of the losses and accuracies; no outputs, since means say it all."""
        logits: Any = self.model.apply(
            variables,
            batch["input_ids"],
            batch["type_ids"],
            batch["masked_lm_positions"],
            deterministic=dropout_key is None,
            rngs=_rngs(dropout_key),
        )
        return self._sums(logits, batch), {}

    def _sums(self, logits: Any, batch: Batch) -> Sums:
        return pretrain_sums(logits, batch)

    def normalizers(self, batch: Batch) -> Normalizers:
        """See `losses.pretrain_normalizers`."""
        return pretrain_normalizers(batch)

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """MLM sum / MLM count + NSP sum / NSP count, as far as the task has them."""
        return sum_of_means(sums, normalizers, self.losses)


class MaskedLM(Pretraining):
    """Masked LM alone."""

    losses: tuple[str, ...] = ("masked_lm_loss",)

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.masked_lm_spec`."""
        return masked_lm_spec(batch_size, self._length, self.predictions)

    def _sums(self, logits: Any, batch: Batch) -> Sums:
        return masked_lm_sums(logits, batch)


class Labelled:
    """One label per text or pair of texts: a class, by cross-entropy, or a number, by squared error.

    The base of all objectives whose loss is one mean.
    """

    model: nn.Module
    losses: tuple[str, ...] = ("cross_entropy",)
    predictions = 0
    sequences = 1
    _weights = "example_weights"  # the field that the loss is weighed by

    def __init__(self, config: Config):
        self.regression = not config.is_pretraining and TASKS[config.task].regression
        if self.regression:
            self.losses = ("squared_error",)
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
        """Sums of loss and accuracy, and what `train/datasets.py` scores."""
        logits: Any = self.model.apply(
            variables,
            batch["input_ids"],
            batch["type_ids"],
            deterministic=dropout_key is None,
            rngs=_rngs(dropout_key),
        )
        return self._judge(logits, batch)

    def _judge(self, logits: Any, batch: Batch) -> tuple[Sums, Outputs]:
        """Output `logits` f32[B, C]; of multiple choice, f32[B, K]."""
        return label_sums(logits, batch), {"logits": logits}

    def normalizers(self, batch: Batch) -> Normalizers:
        """The number of examples, or of words, that count."""
        return {self.losses[0]: jnp.sum(batch[self._weights])}

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """The mean over what counts."""
        return sum_of_means(sums, normalizers, self.losses)


class Tokens(Labelled):
    """One label per word."""

    _weights = "label_weights"

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.tokens_spec`."""
        return tokens_spec(batch_size, self._length)

    def _judge(self, logits: Any, batch: Batch) -> tuple[Sums, Outputs]:
        """Outputs i32[B, L] `labels`, and f32[B, L] `probabilities`, those of the labels."""
        probabilities_BL = jnp.exp(jnp.max(logits, axis=-1) - jax.nn.logsumexp(logits, axis=-1))
        outputs = {"labels": jnp.argmax(logits, axis=-1), "probabilities": probabilities_BL}
        return label_sums(logits, batch, self._weights), outputs


class Choice(Labelled):
    """One of K texts; `num_outputs` is K."""

    def __init__(self, config: Config):
        super().__init__(config)
        self.sequences = config.model.num_outputs

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.choice_spec`."""
        return choice_spec(batch_size, self.sequences, self._length)


class Span(Labelled):
    """The first and the last piece of an answer."""

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """See `core.batch.span_spec`."""
        return span_spec(batch_size, self._length)

    def _judge(self, logits: Any, batch: Batch) -> tuple[Sums, Outputs]:
        """Outputs f32[B, L] `start_logits` and `end_logits`."""
        return span_sums(logits, batch), {"start_logits": logits.start_BL, "end_logits": logits.end_BL}


def _zeros(spec: BatchSpec) -> dict[str, jax.Array]:
    return {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in spec.items()}


def _rngs(dropout_key: jax.Array | None) -> dict[str, jax.Array]:
    return {} if dropout_key is None else {"dropout": dropout_key}
