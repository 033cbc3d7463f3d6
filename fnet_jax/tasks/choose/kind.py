"""Multiple choice: which of K texts goes on from a context."""

import functools

import flax.linen as nn

from fnet_jax.core.batch import choice_spec
from fnet_jax.core.config import Config
from fnet_jax.tasks.choose.dataset import ChooseDataset
from fnet_jax.tasks.choose.files import read_choose
from fnet_jax.tasks.choose.pydocs import read_choose_pydocs
from fnet_jax.tasks.classify.kind import sums_and_logits
from fnet_jax.tasks.interface import Kind, Objective


def _objective(config: Config, model: nn.Module) -> Objective:
    """Cross-entropy over the choices; K = `num_outputs`."""
    num_choices, length = config.model.num_outputs, config.model.max_seq_length
    spec = functools.partial(choice_spec, num_choices=num_choices, max_seq_length=length)
    losses = {"cross_entropy": "example_weights"}
    return Objective(model, spec, sums_and_logits, losses, sequences=num_choices)


CHOOSE = Kind("choice", _objective, ChooseDataset, read_choose, read_choose_pydocs)
