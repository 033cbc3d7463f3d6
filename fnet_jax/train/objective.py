"""What the step and the evaluation need to know of a task: its model, its sums, its loss."""

from typing import Any

import jax
import jax.numpy as jnp

from fnet_jax.core.batch import Batch, BatchSpec, pretrain_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.heads import PretrainModel
from fnet_jax.nn.losses import pretrain_loss, pretrain_normalizers, pretrain_sums
from fnet_jax.train.metrics import Normalizers, Sums, Variables


class Pretraining:
    """Masked LM and next sentence."""

    def __init__(self, config: Config):
        self.model = PretrainModel(config.model)
        self._length = config.model.max_seq_length
        self._predictions = config.data.max_predictions_per_seq

    def batch_spec(self, batch_size: int) -> BatchSpec:
        """Shapes and dtypes of a batch of `batch_size` examples."""
        return pretrain_spec(batch_size, self._length, self._predictions)

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables: `params`, and `constants` where the mixer has fixed matrices."""
        batch = {name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in self.batch_spec(1).items()}
        return self.model.init(
            key, batch["input_ids"], batch["type_ids"], batch["masked_lm_positions"], deterministic=True
        )

    def sums(self, variables: Variables, batch: Batch, dropout_key: jax.Array | None = None) -> Sums:
        """Metric sums over the batch; without a `dropout_key` the model is deterministic."""
        logits: Any = self.model.apply(
            variables,
            batch["input_ids"],
            batch["type_ids"],
            batch["masked_lm_positions"],
            deterministic=dropout_key is None,
            rngs={} if dropout_key is None else {"dropout": dropout_key},
        )
        return pretrain_sums(logits, batch)

    def normalizers(self, batch: Batch) -> Normalizers:
        """The denominators of the loss over the whole batch, whatever part of it is worked off."""
        return pretrain_normalizers(batch)

    def loss(self, sums: Sums, normalizers: Normalizers) -> jax.Array:
        """The scalar to minimise: MLM sum / MLM count + NSP sum / NSP count."""
        return pretrain_loss(sums, normalizers)
