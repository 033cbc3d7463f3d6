"""Models: the encoder with heads. Heads return logits only; `losses` makes losses of them."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.config import ModelConfig
from fnet_jax.core.mesh import Logical, gathered
from fnet_jax.nn.encoder import Encoder
from fnet_jax.nn.layers import LayerNorm, dense, normal_init
from fnet_jax.nn.parallel import take_positions


class PretrainLogits(NamedTuple):
    """Logits of both pretraining tasks, in float32 whatever the dtype of the computation."""

    masked_lm_BPV: jax.Array
    next_sentence_BC: jax.Array  # C = 2: 0 B follows A, 1 it does not


class PretrainModel(nn.Module):
    """Masked language model and next-sentence prediction on one encoder."""

    config: ModelConfig

    def setup(self) -> None:
        """Names the submodules as the original does."""
        c = self.config
        self.encoder = Encoder(c)
        self.predictions_dense = dense((None, "embed"), c.d_emb, dtype=c.dtype)
        self.predictions_layer_norm = LayerNorm(output_dtype=c.dtype)
        self.predictions_output = OutputProjection(c.vocab_size, ("vocab", "embed"))
        self.classification = OutputProjection(2)

    def __call__(
        self,
        input_ids_BL: jax.Array,
        type_ids_BL: jax.Array,
        masked_lm_positions_BP: jax.Array,
        deterministic: bool,
    ) -> PretrainLogits:
        """Predicts the pieces at the given positions and the order of the segments.

        Args:
            input_ids_BL: pieces, with [MASK] and others in place of those to predict.
            type_ids_BL: segment of each piece.
            masked_lm_positions_BP: positions to predict; unused slots may hold any position.
            deterministic: False draws dropout masks from the `dropout` generator.

        Returns:
            `PretrainLogits`.

        Raises:
            ValueError: see `Encoder`.
        """
        sequence_BLD, pooled_BD = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        masked_BPD = take_positions(sequence_BLD, masked_lm_positions_BP)
        hidden_BPE = self.predictions_layer_norm(nn.gelu(self.predictions_dense(masked_BPD)))
        masked_lm_BPV = self.predictions_output(hidden_BPE, self.encoder.word_embedding())
        return PretrainLogits(masked_lm_BPV, self.classification(pooled_BD))


class SequenceModel(nn.Module):
    """One label per example, a class or a number, from the pooled first token; named as the original's."""

    config: ModelConfig

    def setup(self) -> None:
        """Names the submodules as the original does; it has no dropout before the projection."""
        self.encoder = Encoder(self.config)
        self.dropout = nn.Dropout(self.config.classifier_dropout_rate)
        self.classification = OutputProjection(self.config.num_outputs)

    def __call__(self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool) -> jax.Array:
        """Classifies.

        Args:
            input_ids_BL: pieces.
            type_ids_BL: segment of each piece.
            deterministic: False draws dropout masks from the `dropout` generator.

        Returns:
            logits_BC in float32; for regression C = 1 and the logit is the number.

        Raises:
            ValueError: see `Encoder`.
        """
        _, pooled_BD = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        return self.classification(self.dropout(pooled_BD, deterministic))


class OutputProjection(nn.Module):
    """A dense layer whose kernel lies the other way round, [C, D], so that it can be an embedding table.

    `logical` are the axes of the kernel, as `core.mesh.PARAM_RULES` has them.
    """

    num_outputs: int
    logical: Logical = (None, "embed")

    @nn.compact
    def __call__(self, x: jax.Array, kernel_CD: jax.Array | None = None) -> jax.Array:
        """x[..., D] -> logits[..., C] in float32; `kernel_CD`: a table to use in place of an own kernel."""
        if kernel_CD is None:
            kernel_CD = self.param("output_kernel", normal_init, (self.num_outputs, x.shape[-1]))
        bias_C = self.param("output_bias", normal_init, (self.num_outputs,))
        kernel_CD = gathered(kernel_CD.astype(x.dtype), self.logical)
        logits = jnp.einsum("...d,cd->...c", x, kernel_CD, preferred_element_type=jnp.float32)
        return logits + jnp.expand_dims(bias_C, tuple(range(x.ndim - 1)))


def param_count(tree: Any) -> int:
    """Number of parameters in a tree of arrays or ShapeDtypeStructs."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
