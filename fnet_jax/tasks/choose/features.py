"""Contexts with their choices to batches."""

import functools
from typing import Any

import numpy as np

from fnet_jax.core.batch import choice_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.choose.files import ChooseSplit
from fnet_jax.tasks.features import ExampleBatches, Pair, Rows, features


def choose_batches(
    split: ChooseSplit, tokenizer: Tokenizer, data: DataConfig, *, max_seq_length: int, **options: Any
) -> ExampleBatches:
    """Contexts with their choices as batches; fields as in `core.batch.choice_spec`.

    Each choice is a row [CLS] context [SEP] choice [SEP], cut to length as pairs of texts are.

    Args:
        split: contexts and choices; they are tokenised when a batch is made.
        tokenizer: of the model.
        data: `truncation`.
        max_seq_length: L.
        **options: of `ExampleBatches`, which says what is raised.
    """
    num_choices = len(split.choices[0]) if len(split) else 0
    spec = functools.partial(choice_spec, num_choices=num_choices, max_seq_length=max_seq_length)
    return ExampleBatches(split, spec, functools.partial(_write, split, tokenizer, data), **options)


def _write(
    split: ChooseSplit, tokenizer: Tokenizer, data: DataConfig, rows: Rows, numbers: np.ndarray
) -> None:
    length = rows["input_ids"].shape[-1]
    for row, pairs in enumerate(encode_choices(split, numbers, tokenizer)):
        for k, pair in enumerate(pairs):
            rows["input_ids"][row, k], rows["type_ids"][row, k] = features(*pair, length, data.truncation)
    if split.labels is not None:
        rows["labels"][:] = split.labels[numbers]


def encode_choices(split: ChooseSplit, numbers: np.ndarray, tokenizer: Tokenizer) -> list[list[Pair]]:
    """The tokens of some examples: for each its context with each of its choices."""
    contexts = tokenizer.encode_batch([split.contexts[number] for number in numbers])
    return [
        [(context, choice) for choice in tokenizer.encode_batch(split.choices[number])]
        for context, number in zip(contexts, numbers, strict=True)
    ]
