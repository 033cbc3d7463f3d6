"""Texts and pairs of texts to batches."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnet_jax.core.batch import labelled_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.features import ExampleBatches, Pair, Rows, features, full_length

_SAMPLE = 1000  # examples


def classify_batches(
    split: ClassifySplit,
    tokenizer: Tokenizer,
    data: DataConfig,
    *,
    regression: bool,
    max_seq_length: int,
    **options: Any,
) -> ExampleBatches:
    """Texts or pairs of texts with their label as batches; fields as in `core.batch.labelled_spec`.

    Args:
        split: texts and labels; they are tokenised when a batch is made.
        tokenizer: of the model.
        data: `truncation` and `swap_texts`.
        regression: labels are numbers and no class ids.
        max_seq_length: L.
        **options: of `ExampleBatches`, which says what is raised.
    """
    spec = functools.partial(labelled_spec, max_seq_length=max_seq_length, regression=regression)
    return ExampleBatches(split, spec, functools.partial(_write, split, tokenizer, data), **options)


def _write(
    split: ClassifySplit, tokenizer: Tokenizer, data: DataConfig, rows: Rows, numbers: np.ndarray
) -> None:
    length = rows["input_ids"].shape[-1]
    for row, pair in enumerate(encode(split, numbers, tokenizer, data.swap_texts)):
        rows["input_ids"][row], rows["type_ids"][row] = features(*pair, length, data.truncation)
    if split.labels is not None:
        rows["labels"][:] = split.labels[numbers]


def encode(split: ClassifySplit, numbers: np.ndarray, tokenizer: Tokenizer, swap_texts: bool) -> list[Pair]:
    """The tokens of some examples of a split, first and second text."""
    if not len(numbers):
        return []
    ids_a = tokenizer.encode_batch([split.texts[number] for number in numbers])
    if split.texts_b is None:
        return [(ids, None) for ids in ids_a]
    ids_b = tokenizer.encode_batch([split.texts_b[number] for number in numbers])
    return list(zip(ids_b, ids_a, strict=True)) if swap_texts else list(zip(ids_a, ids_b, strict=True))


def spread(count: int) -> np.ndarray:
    """The numbers of up to 1000 of so many examples, from all over them."""
    return np.arange(0, count, -(-count // _SAMPLE) or 1)


def truncated_share(pairs: Sequence[Pair], max_seq_length: int) -> float:
    """Share of examples, first and second text as tokens, that are cut at L = `max_seq_length`."""
    return float(np.mean([full_length(*pair) > max_seq_length for pair in pairs])) if pairs else 0.0
