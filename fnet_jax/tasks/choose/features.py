"""Contexts with their choices to batches."""

from typing import Any

import numpy as np

from fnet_jax.core.batch import choice_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.choose.files import ChooseSplit
from fnet_jax.tasks.features import ExampleBatches, Pair, features


class ChooseBatches(ExampleBatches):
    """Contexts with their choices; fields as in `core.batch.choice_spec`.

    Each choice is a row [CLS] context [SEP] choice [SEP], cut to length as pairs of texts are.
    """

    def __init__(
        self,
        split: ChooseSplit,
        tokenizer: Tokenizer,
        data: DataConfig,
        *,
        max_seq_length: int,
        **options: Any,
    ) -> None:
        """Takes a split; nothing is tokenised yet.

        Args:
            split: contexts and choices.
            tokenizer: of the model.
            data: `truncation`.
            max_seq_length: L.
            **options: of `ExampleBatches`.

        Raises:
            UserError: if there is nothing to train on.
        """
        num_choices = len(split.choices[0]) if len(split) else 0
        super().__init__(split, lambda size: choice_spec(size, num_choices, max_seq_length), **options)
        self._split, self._tokenizer, self._truncation = split, tokenizer, data.truncation
        self._max_seq_length = max_seq_length

    def _fill(self, rows: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        for row, pairs in enumerate(encode_choices(self._split, numbers, self._tokenizer)):
            for k, pair in enumerate(pairs):
                rows["input_ids"][row, k], rows["type_ids"][row, k] = features(
                    *pair, self._max_seq_length, self._truncation
                )
        if self._split.labels is not None:
            rows["labels"][:] = self._split.labels[numbers]


def encode_choices(split: ChooseSplit, numbers: np.ndarray, tokenizer: Tokenizer) -> list[list[Pair]]:
    """The pieces of some examples: for each its context with each of its choices."""
    contexts = tokenizer.encode_batch([split.contexts[number] for number in numbers])
    return [
        [(context, choice) for choice in tokenizer.encode_batch(split.choices[number])]
        for context, number in zip(contexts, numbers, strict=True)
    ]
