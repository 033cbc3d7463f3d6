"""Tagging: a label for every word of a sentence."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from fnet_jax.core.batch import Batch, tokens_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.losses import label_sums
from fnet_jax.tasks.interface import Kind, Objective, Outputs
from fnet_jax.tasks.metrics import Sums
from fnet_jax.tasks.tag.dataset import TagDataset
from fnet_jax.tasks.tag.files import read_tag
from fnet_jax.tasks.tag.pydocs import read_tag_pydocs


def _objective(config: Config, model: nn.Module) -> Objective:
    """Cross-entropy over the tags, at the first token of each word."""
    spec = functools.partial(tokens_spec, max_seq_length=config.model.max_seq_length)
    return Objective(model, spec, _evaluate, losses={"cross_entropy": "label_weights"})


def _evaluate(logits_BLC: jax.Array, batch: Batch) -> tuple[Sums, Outputs]:
    """Outputs `labels` i32[B, L], and `probabilities` f32[B, L], those of the labels."""
    probabilities_BL = jnp.exp(jnp.max(logits_BLC, axis=-1) - jax.nn.logsumexp(logits_BLC, axis=-1))
    outputs = {"labels": jnp.argmax(logits_BLC, axis=-1), "probabilities": probabilities_BL}
    return label_sums(logits_BLC, batch, "label_weights"), outputs


TAG = Kind("tokens", _objective, TagDataset, read_tag, read_tag_pydocs)
