"""Question answering: which span of a context answers a question."""

import functools

import flax.linen as nn

from fnet_jax.core.batch import Batch, span_spec
from fnet_jax.core.config import Config
from fnet_jax.nn.heads import SpanLogits
from fnet_jax.nn.losses import span_sums
from fnet_jax.tasks.answer.dataset import AnswerDataset
from fnet_jax.tasks.answer.files import read_answer
from fnet_jax.tasks.answer.pydocs import read_answer_pydocs
from fnet_jax.tasks.interface import Kind, Objective, Outputs
from fnet_jax.tasks.metrics import Sums


def _objective(config: Config, model: nn.Module) -> Objective:
    """Cross-entropy of the positions of an answer's first and last token."""
    spec = functools.partial(span_spec, max_seq_length=config.model.max_seq_length)
    return Objective(model, spec, _evaluate, losses={"cross_entropy": "example_weights"})


def _evaluate(logits: SpanLogits, batch: Batch) -> tuple[Sums, Outputs]:
    """Outputs `start_logits` and `end_logits`, f32[B, L]."""
    return span_sums(logits, batch), {"start_logits": logits.start_BL, "end_logits": logits.end_BL}


ANSWER = Kind("span", _objective, AnswerDataset, read_answer, read_answer_pydocs)
