"""Classification and regression: one label for a text or a pair of texts."""

import functools

import flax.linen as nn
import jax

from fnet_jax.core.batch import Batch, labelled_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.losses import label_sums
from fnet_jax.tasks.classify.dataset import ClassifyDataset
from fnet_jax.tasks.classify.read import read_classify
from fnet_jax.tasks.interface import Kind, Objective, Outputs
from fnet_jax.tasks.metrics import Sums
from fnet_jax.tasks.table import TASKS


def _objective(config: Config, model: nn.Module) -> Objective:
    """Cross-entropy over the classes, or the squared error of a number."""
    regression, length = TASKS[config.task].regression, config.model.max_seq_length
    spec = functools.partial(labelled_spec, max_seq_length=length, regression=regression)
    losses = {"squared_error" if regression else "cross_entropy": "example_weights"}
    return Objective(model, spec, sums_and_logits, losses)


def sums_and_logits(logits: jax.Array, batch: Batch) -> tuple[Sums, Outputs]:
    """Output `logits` f32[B, C]; of multiple choice, f32[B, K]."""
    return label_sums(logits, batch), {"logits": logits}


CLASSIFY = Kind("sequence", _objective, ClassifyDataset, read_classify)
