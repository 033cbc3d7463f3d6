"""Pretraining: masked LM, next sentence, or both."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from fnet_jax.core.batch import Batch, BatchSpec, labelled_spec, masked_lm_spec, pretrain_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.losses import masked_lm_sums, pretrain_sums
from fnet_jax.tasks.classify.kind import sums_and_logits
from fnet_jax.tasks.interface import Kind, Objective
from fnet_jax.tasks.metrics import Sums
from fnet_jax.tasks.pretrain.dataset import PretrainDataset

_MASKED_LM = {"masked_lm_loss": "masked_lm_weights"}


def _masked_objective(
    config: Config,
    model: nn.Module,
    *,
    spec: Callable[[int, int, int], BatchSpec],
    sums: Callable[[Any, Batch], Sums],
    losses: Mapping[str, str],
) -> Objective:
    """Masked LM, alone or with next sentence; there are no outputs, since the means say it all."""
    length, predictions = config.model.max_seq_length, config.data.max_predictions_per_seq
    return Objective(
        model,
        lambda batch_size: spec(batch_size, length, predictions),
        lambda logits, batch: (sums(logits, batch), {}),
        losses,
        inputs=("input_ids", "type_ids", "masked_lm_positions"),
        predictions=predictions,
    )


def _next_sentence_objective(config: Config, model: nn.Module) -> Objective:
    """Whether the second segment follows the first one: two classes."""
    spec = functools.partial(labelled_spec, max_seq_length=config.model.max_seq_length, regression=False)
    return Objective(model, spec, sums_and_logits, losses={"cross_entropy": "example_weights"})


PRETRAIN = Kind(
    "pretrain",
    functools.partial(
        _masked_objective,
        spec=pretrain_spec,
        sums=pretrain_sums,
        losses={**_MASKED_LM, "next_sentence_loss": "example_weights"},
    ),
    PretrainDataset,
)
MASKED_LM = Kind(
    "masked_lm",
    functools.partial(_masked_objective, spec=masked_lm_spec, sums=masked_lm_sums, losses=_MASKED_LM),
    PretrainDataset,
)
NEXT_SENTENCE = Kind("next_sentence", _next_sentence_objective, PretrainDataset)
