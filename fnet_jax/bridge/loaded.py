"""A model in memory, on its way between two kinds of files."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.traverse_util
import numpy as np

from fnet_jax.core.checks import check
from fnet_jax.core.config import Config, DataConfig, Head, ModelConfig

# The task that trains a head on files of your own.
_TASKS: dict[Head, str] = {
    "encoder": "pretrain",
    "pretrain": "pretrain",
    "masked_lm": "masked_lm",
    "next_sentence": "next_sentence",
    "sequence": "classify",
    "tokens": "tag",
    "choice": "choose",
    "span": "answer",
}


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model without devices.

    Attributes:
        config: of its run, or as much as is known of it.
        head: of the model.
        variables: `params`, and `constants` where the model has them, as NumPy arrays; names and layout as
            `make_model(head, config.model)` has them, with a leading axis for the layers of a run.
        tokenizer_path: of its SentencePiece model, if it has one.
    """

    config: Config
    head: Head
    variables: dict[str, Any]
    tokenizer_path: str | None


def run_config(
    head: Head, model: ModelConfig, labels: Sequence[str] = (), regression: bool = False
) -> Config:
    """A config for training `model` further; all but the model by default.

    Args:
        head: of the model, which tells the task.
        model: with all sizes.
        labels: names of the classes.
        regression: the head `sequence` gives a number.

    Raises:
        UserError: if the model cannot work.
    """
    data = DataConfig(
        labels=tuple(labels),
        max_predictions_per_seq=max(1, model.max_seq_length * 5 // 32),  # 80 of 512, as the original
    )
    config = Config(task="regress" if regression else _TASKS[head], model=model, data=data)
    check(config)
    return config


def flat(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    """Path, such as "params/encoder/pooler/bias", -> array."""
    return flax.traverse_util.flatten_dict(variables, sep="/")


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def bare_head(head: Head, names: Sequence[str]) -> Head:
    """`head`, or "encoder" if no parameter of a head is among the paths `params/...`."""
    is_bare = all(name.startswith(("params/encoder/", "constants/")) for name in names)
    return "encoder" if is_bare else head
