"""Models: the encoder with heads. Heads return logits only; `losses` makes losses of them.

Logits are float32 whatever the dtype of the computation. Submodules have the names of the original, and
every classifier is called `classification`. `deterministic=False` draws dropout masks from the `dropout`
generator; every model raises what `Encoder` raises.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.core.mesh import gather_param
from fnet_jax.nn.encoder import Encoder
from fnet_jax.nn.layers import LayerNorm, dense, normal_init
from fnet_jax.nn.parallel import take_positions


class PretrainLogits(NamedTuple):
    """Logits of both pretraining tasks."""

    masked_lm_BPV: jax.Array
    next_sentence_BC: jax.Array  # C = 2: 0 B follows A, 1 it does not


class SpanLogits(NamedTuple):
    """Logits over the positions of an example."""

    start_BL: jax.Array
    end_BL: jax.Array  # of the last token of the span, not the one behind it


class _Model(nn.Module):
    """What all have in common: a config, and the encoder under its name in the original."""

    config: ModelConfig

    def setup(self) -> None:
        """Names the submodules as the original does."""
        self.encoder = Encoder(self.config)


class EncoderModel(_Model):
    """The encoder alone."""

    def __call__(
        self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool = True
    ) -> tuple[jax.Array, jax.Array]:
        """sequence_BLD and pooled_BD in the dtype of the computation; see `Encoder`."""
        return self.encoder(input_ids_BL, type_ids_BL, deterministic)


class MaskedLMModel(_Model):
    """Masked language model."""

    def setup(self) -> None:
        """Names the submodules as the original does."""
        super().setup()
        c = self.config
        self.predictions_dense = dense("predictions_dense", c.d_emb, dtype=c.dtype)
        self.predictions_layer_norm = LayerNorm(output_dtype=c.dtype)
        self.predictions_output = OutputProjection(c.vocab_size)

    def __call__(
        self,
        input_ids_BL: jax.Array,
        type_ids_BL: jax.Array,
        masked_lm_positions_BP: jax.Array,
        deterministic: bool = True,
    ) -> Any:
        """logits_BPV of the tokens at the given positions; arguments as in `PretrainModel`."""
        sequence_BLD, _ = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        return self.predict(sequence_BLD, masked_lm_positions_BP)

    def predict(self, sequence_BLD: jax.Array, masked_lm_positions_BP: jax.Array) -> jax.Array:
        """logits_BPV from what the encoder makes of the tokens."""
        masked_BPD = take_positions(sequence_BLD, masked_lm_positions_BP)
        hidden_BPE = self.predictions_layer_norm(nn.gelu(self.predictions_dense(masked_BPD)))
        return self.predictions_output(hidden_BPE, self.encoder.word_embedding())


class PretrainModel(MaskedLMModel):
    """Masked language model and next-sentence prediction on one encoder."""

    def setup(self) -> None:
        """Names the submodules as the original does."""
        super().setup()
        self.classification = OutputProjection(2)

    def __call__(
        self,
        input_ids_BL: jax.Array,
        type_ids_BL: jax.Array,
        masked_lm_positions_BP: jax.Array,
        deterministic: bool = True,
    ) -> PretrainLogits:
        """Predicts the tokens at the given positions and the order of the segments.

        Args:
            input_ids_BL: tokens, with [MASK] and others in place of those to predict.
            type_ids_BL: segment of each token.
            masked_lm_positions_BP: positions to predict; unused slots may hold any position.
            deterministic: no dropout.
        """
        sequence_BLD, pooled_BD = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        masked_lm_BPV = self.predict(sequence_BLD, masked_lm_positions_BP)
        return PretrainLogits(masked_lm_BPV, self.classification(pooled_BD))


class SequenceModel(_Model):
    """One label per example, a class or a number, from the pooled output.

    The original has no dropout before the projection to `num_outputs`.
    """

    def setup(self) -> None:
        """Names the submodules as the original does."""
        super().setup()
        self.dropout = nn.Dropout(self.config.classifier_dropout_rate)
        self.classification = OutputProjection(self.config.num_outputs)

    def __call__(self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool = True) -> Any:
        """logits_BC; for regression C = 1 and the logit is the number."""
        _, pooled_BD = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        return self.classification(self.dropout(pooled_BD, deterministic))


class TokenModel(SequenceModel):
    """One label per token."""

    def __call__(self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool = True) -> Any:
        """logits_BLC."""
        sequence_BLD, _ = self.encoder(input_ids_BL, type_ids_BL, deterministic)
        return self.classification(self.dropout(sequence_BLD, deterministic))


class SpanModel(TokenModel):
    """The first and the last token of a span of the text; `num_outputs` is 2."""

    def __call__(
        self, input_ids_BL: jax.Array, type_ids_BL: jax.Array, deterministic: bool = True
    ) -> SpanLogits:
        """Logits of every position, padding included."""
        logits_BLC = super().__call__(input_ids_BL, type_ids_BL, deterministic)
        return SpanLogits(logits_BLC[..., 0], logits_BLC[..., 1])


class ChoiceModel(SequenceModel):
    """One of K texts, each encoded on its own; `num_outputs` is 1."""

    def __call__(self, input_ids_BKL: jax.Array, type_ids_BKL: jax.Array, deterministic: bool = True) -> Any:
        """logits_BK."""
        *shape, length = input_ids_BKL.shape
        input_ids, type_ids = (ids.reshape(-1, length) for ids in (input_ids_BKL, type_ids_BKL))
        return super().__call__(input_ids, type_ids, deterministic).reshape(shape)


_MODELS: dict[Head, type[nn.Module]] = {
    "encoder": EncoderModel,
    "pretrain": PretrainModel,
    "masked_lm": MaskedLMModel,
    "next_sentence": SequenceModel,
    "sequence": SequenceModel,
    "tokens": TokenModel,
    "choice": ChoiceModel,
    "span": SpanModel,
}
# Outputs of the heads that have always the same number.
_NUM_OUTPUTS: dict[Head, int] = {"next_sentence": 2, "choice": 1, "span": 2}


def make_model(head: Head, config: ModelConfig) -> nn.Module:
    """The encoder with a head.

    Args:
        head: which one.
        config: `vocab_size` filled in, and `num_outputs` for the heads `sequence` and `tokens`; the others
            have a number of their own.
    """
    if head in _NUM_OUTPUTS:
        config = dataclasses.replace(config, num_outputs=_NUM_OUTPUTS[head])
    if head == "next_sentence":  # as in pretraining
        config = dataclasses.replace(config, classifier_dropout_rate=0.0)
    return _MODELS[head](config)


class OutputProjection(nn.Module):
    """A dense layer whose kernel lies the other way round, [C, D], so that it can be the word embeddings."""

    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, word_embedding_CD: jax.Array | None = None) -> jax.Array:
        """x[..., D] -> logits[..., C] in float32, with the word embeddings or else a kernel of its own."""
        name, kernel_CD = "word/embedding", word_embedding_CD
        if kernel_CD is None:
            name = "classification/output_kernel"
            kernel_CD = self.param("output_kernel", normal_init, (self.num_outputs, x.shape[-1]))
        bias_C = self.param("output_bias", normal_init, (self.num_outputs,))
        kernel_CD = gather_param(kernel_CD.astype(x.dtype), name)
        logits = jnp.einsum("...d,cd->...c", x, kernel_CD, preferred_element_type=jnp.float32)
        return logits + jnp.expand_dims(bias_C, tuple(range(x.ndim - 1)))


def param_count(tree: Any) -> int:
    """Number of parameters in a tree of arrays or ShapeDtypeStructs."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))
