"""Losses as sums over the whole batch, to be divided once at the end.

A loss or accuracy is a pair (sum, weight). Pairs of different parts of a batch, of different batches
or of different devices add up; their mean is the same however the examples were divided. (The mean of
the means of parts is not, when the parts hold different numbers of masked positions.)
"""

import jax
import jax.numpy as jnp

from fnet_jax.core.batch import Batch
from fnet_jax.core.special_tokens import MASK_ID
from fnet_jax.nn.heads import PretrainLogits, SpanLogits

# f32 scalars: sum of a quantity, sum of its weights.
Sum = tuple[jax.Array, jax.Array]


def pretrain_sums(logits: PretrainLogits, batch: Batch) -> dict[str, Sum]:
    """Losses and accuracies of both tasks.

    Args:
        logits: of the batch.
        batch: fields of `core.batch.pretrain_spec`. `masked_lm_weights` weigh the masked LM terms,
            `example_weights` the next-sentence terms.

    Returns:
        (sum, weight) in float32: those of `masked_lm_sums`, `next_sentence_loss` and
        `next_sentence_accuracy`. Losses are cross-entropies in nats.
    """
    labels_B = jnp.asarray(batch["next_sentence_labels"])
    loss_B, hit_B = _cross_entropy(logits.next_sentence_BC, labels_B)
    weights_B = jnp.asarray(batch["example_weights"])
    return {
        **masked_lm_sums(logits.masked_lm_BPV, batch),
        "next_sentence_loss": _weighted(loss_B, weights_B),
        "next_sentence_accuracy": _weighted(hit_B, weights_B),
    }


def masked_lm_sums(logits_BPV: jax.Array, batch: Batch) -> dict[str, Sum]:
    """Loss and accuracy of masked LM.

    Args:
        logits_BPV: of the batch.
        batch: fields of `core.batch.masked_lm_spec`; `masked_lm_weights` weigh the terms.

    Returns:
        (sum, weight) in float32 for `masked_lm_loss` in nats, `masked_lm_accuracy`, and the same two named
        `mask_token_*` over the positions that read [MASK] (the task without the positions that show
        the answer or a random token).
    """
    fields = {name: jnp.asarray(field) for name, field in batch.items()}
    loss_BP, hit_BP = _cross_entropy(logits_BPV, fields["masked_lm_ids"])
    weights_BP = fields["masked_lm_weights"]
    tokens_BP = jnp.take_along_axis(fields["input_ids"], fields["masked_lm_positions"], axis=1)
    is_mask_BP = (tokens_BP == MASK_ID).astype(jnp.float32)
    return {
        "masked_lm_loss": _weighted(loss_BP, weights_BP),
        "masked_lm_accuracy": _weighted(hit_BP, weights_BP),
        "mask_token_loss": _weighted(loss_BP, weights_BP * is_mask_BP),
        "mask_token_accuracy": _weighted(hit_BP, weights_BP * is_mask_BP),
    }


def label_sums(logits: jax.Array, batch: Batch, weights: str = "example_weights") -> dict[str, Sum]:
    """Loss and accuracy of a labelled task.

    Args:
        logits: [B, C] or, with a label for each position, [B, L, C]; [B, K] of multiple choice.
        batch: `labels`, of the shape of the logits without the last axis, and what weighs them. Integer
            labels are classes; float labels are numbers, and C is 1.
        weights: the field that weighs the labels.

    Returns:
        (sum, weight) in float32: `cross_entropy` in nats and `accuracy`; or `squared_error`.
    """
    labels, label_weights = jnp.asarray(batch["labels"]), jnp.asarray(batch[weights])
    if jnp.issubdtype(labels.dtype, jnp.floating):
        error = logits.astype(jnp.float32)[..., 0] - labels
        return {"squared_error": _weighted(error * error, label_weights)}
    loss, hit = _cross_entropy(logits, labels)
    return {"cross_entropy": _weighted(loss, label_weights), "accuracy": _weighted(hit, label_weights)}


def span_sums(logits: SpanLogits, batch: Batch) -> dict[str, Sum]:
    """Loss and accuracies of span extraction.

    Args:
        logits: of the batch.
        batch: fields of `core.batch.span_spec`.

    Returns:
        (sum, weight) in float32: `cross_entropy` in nats, the mean of that of the start and that of the end
        (both over all positions, as BERT); `start_accuracy`, `end_accuracy`.
    """
    weights_B = jnp.asarray(batch["example_weights"])
    start_loss_B, start_hit_B = _cross_entropy(logits.start_BL, jnp.asarray(batch["start_positions"]))
    end_loss_B, end_hit_B = _cross_entropy(logits.end_BL, jnp.asarray(batch["end_positions"]))
    return {
        "cross_entropy": _weighted((start_loss_B + end_loss_B) / 2, weights_B),
        "start_accuracy": _weighted(start_hit_B, weights_B),
        "end_accuracy": _weighted(end_hit_B, weights_B),
    }


def mean(total: Sum) -> jax.Array:
    """sum / weight; 0 where the weight is 0."""
    value, weight = total
    return value / jnp.where(weight == 0, 1.0, weight)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """logits[..., C], labels[...] -> −log softmax(logits)[label], and 1 where the label ranks first."""
    logits = logits.astype(jnp.float32)
    # A sum and no index: where classes are divided over devices, an index would gather them all.
    is_label = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1) == labels[..., None]
    label_logits = jnp.sum(jnp.where(is_label, logits, 0.0), axis=-1)
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return jax.nn.logsumexp(logits, axis=-1) - label_logits, hits


def _weighted(values: jax.Array, weights: jax.Array) -> Sum:
    return jnp.sum(values * weights), jnp.sum(weights)
