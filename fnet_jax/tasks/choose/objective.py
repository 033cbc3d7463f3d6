"""Cross-entropy over the choices."""

import functools

import flax.linen as nn

from fnet_jax.core.batch import choice_spec
from fnet_jax.core.config import Config
from fnet_jax.tasks.classify.objective import sums_and_logits
from fnet_jax.tasks.interface import Objective


def choose_objective(config: Config, model: nn.Module) -> Objective:
    """One of K texts; `num_outputs` is K."""
    num_choices = config.model.num_outputs
    return Objective(
        model,
        functools.partial(choice_spec, num_choices=num_choices, max_seq_length=config.model.max_seq_length),
        sums_and_logits,
        losses={"cross_entropy": "example_weights"},
        sequences=num_choices,
    )
