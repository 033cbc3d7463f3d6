"""Texts and pairs of texts to batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnet_jax.core.batch import labelled_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.features import ExampleBatches, Pair, features, full_length

_SAMPLE = 1000  # examples


class ClassifyBatches(ExampleBatches):
    """Texts or pairs of texts with one label; fields as in `core.batch.labelled_spec`."""

    def __init__(
        self,
        split: ClassifySplit,
        tokenizer: Tokenizer,
        data: DataConfig,
        *,
        regression: bool,
        max_seq_length: int,
        **options: Any,
    ) -> None:
        """Takes a split; nothing is tokenised yet.

        Args:
            split: texts and labels.
            tokenizer: of the model.
            data: `truncation` and `swap_texts`.
            regression: labels are numbers and no class ids.
            max_seq_length: L.
            **options: of `ExampleBatches`.

        Raises:
            UserError: if there is nothing to train on.
        """
        super().__init__(split, lambda size: labelled_spec(size, max_seq_length, regression), **options)
        self._split, self._tokenizer = split, tokenizer
        self._truncation, self._swap = data.truncation, data.swap_texts
        self._max_seq_length = max_seq_length

    def _fill(self, rows: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        for row, (ids_a, ids_b) in enumerate(encode(self._split, numbers, self._tokenizer, self._swap)):
            rows["input_ids"][row], rows["type_ids"][row] = features(
                ids_a, ids_b, self._max_seq_length, self._truncation
            )
        if self._split.labels is not None:
            rows["labels"][:] = self._split.labels[numbers]


def encode(split: ClassifySplit, numbers: np.ndarray, tokenizer: Tokenizer, swap_texts: bool) -> list[Pair]:
    """The pieces of some examples of a split, first and second text."""
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
    """Share of examples, first and second text as pieces, that are cut at L = `max_seq_length`."""
    return float(np.mean([full_length(*pair) > max_seq_length for pair in pairs])) if pairs else 0.0
