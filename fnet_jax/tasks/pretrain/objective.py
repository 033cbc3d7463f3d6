"""Masked LM, next sentence, or both: the losses of pretraining."""

import functools

import flax.linen as nn

from fnet_jax.core.batch import labelled_spec, masked_lm_spec, pretrain_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.losses import masked_lm_sums, pretrain_sums
from fnet_jax.tasks.classify.objective import sums_and_logits
from fnet_jax.tasks.interface import Objective

_INPUTS = ("input_ids", "type_ids", "masked_lm_positions")


def pretrain_objective(config: Config, model: nn.Module) -> Objective:
    """Masked LM and next sentence; no outputs, since the means say it all."""
    length, predictions = config.model.max_seq_length, config.data.max_predictions_per_seq
    return Objective(
        model,
        functools.partial(pretrain_spec, max_seq_length=length, max_predictions_per_seq=predictions),
        lambda logits, batch: (pretrain_sums(logits, batch), {}),
        losses={"masked_lm_loss": "masked_lm_weights", "next_sentence_loss": "example_weights"},
        inputs=_INPUTS,
        predictions=predictions,
    )


def masked_lm_objective(config: Config, model: nn.Module) -> Objective:
    """Masked LM alone."""
    length, predictions = config.model.max_seq_length, config.data.max_predictions_per_seq
    return Objective(
        model,
        functools.partial(masked_lm_spec, max_seq_length=length, max_predictions_per_seq=predictions),
        lambda logits, batch: (masked_lm_sums(logits, batch), {}),
        losses={"masked_lm_loss": "masked_lm_weights"},
        inputs=_INPUTS,
        predictions=predictions,
    )


def next_sentence_objective(config: Config, model: nn.Module) -> Objective:
    """Whether the second segment follows the first one: two classes."""
    spec = functools.partial(labelled_spec, max_seq_length=config.model.max_seq_length, regression=False)
    return Objective(model, spec, sums_and_logits, losses={"cross_entropy": "example_weights"})
