"""Small models with random variables, for every head."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import Loaded, run_config
from fnet_jax.core.config import Head, ModelConfig

TINY: dict[str, Any] = {
    "num_layers": 3,
    "d_model": 16,
    "d_emb": 16,
    "d_ff": 24,
    "num_heads": 2,
    "max_seq_length": 24,
    "vocab_size": 50,
    "dropout_rate": 0.25,
}


def model_config(head: Head, **changes: Any) -> ModelConfig:
    """A tiny model; five classes where the head has classes."""
    values = TINY | changes
    if head in ("sequence", "tokens"):
        values.setdefault("num_outputs", 0)
        values["num_outputs"] = values["num_outputs"] or 5
    return ModelConfig(**values)


def made(head: Head, seed: int = 0, tokenizer: pathlib.Path | None = None, **changes: Any) -> Loaded:
    """A model whose variables NumPy drew from a seed, biases and scales too."""
    model = model_config(head, **changes)
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        mean = 1.0 if jax.tree_util.keystr(path).endswith("['scale']") else 0.0
        return (mean + 0.2 * rng.standard_normal(leaf.shape)).astype(np.float32)

    variables = jax.tree_util.tree_map_with_path(draw, abstract_variables(head, model))
    regression = model.num_outputs == 1 and head == "sequence"
    labels = [f"label {i}" for i in range(0 if regression else model.num_outputs)]
    config = run_config(head, model, labels, regression)
    return Loaded(config, head, dict(variables), str(tokenizer) if tokenizer else None)


def changed(loaded: Loaded, **changes: Any) -> Loaded:
    """The same model with other values in the `model` part of its config."""
    model = dataclasses.replace(loaded.config.model, **changes)
    return dataclasses.replace(loaded, config=dataclasses.replace(loaded.config, model=model))
