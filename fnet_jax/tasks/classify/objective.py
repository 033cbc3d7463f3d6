"""Cross-entropy over classes, or squared error of a number."""

import functools
from typing import Any

import flax.linen as nn

from fnet_jax.core.batch import Batch, labelled_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.losses import label_sums
from fnet_jax.tasks.interface import Objective, Outputs
from fnet_jax.tasks.metrics import Sums
from fnet_jax.tasks.table import TASKS


def classify_objective(config: Config, model: nn.Module) -> Objective:
    """One label per text or pair of texts: a class, or a number."""
    regression = TASKS[config.task].regression
    return Objective(
        model,
        functools.partial(labelled_spec, max_seq_length=config.model.max_seq_length, regression=regression),
        sums_and_logits,
        losses={"squared_error" if regression else "cross_entropy": "example_weights"},
    )


def sums_and_logits(logits: Any, batch: Batch) -> tuple[Sums, Outputs]:
    """Output `logits` f32[B, C]; of multiple choice, f32[B, K]."""
    return label_sums(logits, batch), {"logits": logits}
