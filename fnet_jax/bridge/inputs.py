"""What goes into the model of a head, and which variables it has."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.nn.heads import make_model

Size = Any  # an int, or a symbolic dimension of `jax.export`


def input_spec(
    head: Head, length: int, batch: Size = 1, predictions: Size = 1, choices: Size = 1
) -> Mapping[str, jax.ShapeDtypeStruct]:
    """The inputs of a model by name, all int32, in the order of its arguments.

    Args:
        head: of the model.
        length: L.
        batch: B.
        predictions: P, of the heads that predict masked tokens.
        choices: K, of the head that chooses.

    Returns:
        `input_ids` and `type_ids` [B, L], or [B, K, L] for "choice"; `masked_lm_positions` [B, P] for
        "pretrain" and "masked_lm".
    """
    shape = (batch, choices, length) if head == "choice" else (batch, length)
    shapes = {"input_ids": shape, "type_ids": shape}
    if head in ("pretrain", "masked_lm"):
        shapes["masked_lm_positions"] = (batch, predictions)
    return {name: jax.ShapeDtypeStruct(shape, np.dtype(np.int32)) for name, shape in shapes.items()}


def abstract_variables(head: Head, config: ModelConfig) -> dict[str, Any]:
    """Shapes and dtypes of a model's variables, as `init` gives them; nothing is computed."""
    model = make_model(head, config)
    inputs = input_spec(head, config.max_seq_length).values()
    return jax.eval_shape(lambda *args: model.init(jax.random.key(0), *args, deterministic=True), *inputs)
