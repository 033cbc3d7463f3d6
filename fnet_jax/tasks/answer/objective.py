"""Cross-entropy over the positions where an answer may begin and end."""

import functools

import flax.linen as nn

from fnet_jax.core.batch import Batch, span_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.heads import SpanLogits
from fnet_jax.nn.losses import span_sums
from fnet_jax.tasks.interface import Objective, Outputs
from fnet_jax.tasks.metrics import Sums


def answer_objective(config: Config, model: nn.Module) -> Objective:
    """The first and the last token of an answer."""
    spec = functools.partial(span_spec, max_seq_length=config.model.max_seq_length)
    return Objective(model, spec, _evaluate, losses={"cross_entropy": "example_weights"})


def _evaluate(logits: SpanLogits, batch: Batch) -> tuple[Sums, Outputs]:
    """Outputs f32[B, L] `start_logits` and `end_logits`."""
    return span_sums(logits, batch), {"start_logits": logits.start_BL, "end_logits": logits.end_BL}
