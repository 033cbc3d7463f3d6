"""Multiple choice: a context with K texts each, one of which goes on from it."""

from typing import Any

import numpy as np

from fnet_jax.tasks.choose.features import choose_batches, encode_choices
from fnet_jax.tasks.classify.dataset import ClassifyDataset
from fnet_jax.tasks.features import ExampleBatches, Pair


class ChooseDataset(ClassifyDataset):
    """Scored and written as classes are: those of an example are its choices."""

    def make_batches(self, split: Any, encoded: Any, **options: Any) -> ExampleBatches:
        """See `choose_batches`."""
        return choose_batches(split, self.tokenizer, self.config.data, **options)

    def tokens(self, split: Any, numbers: np.ndarray) -> list[Pair]:
        """The tokens of some contexts with each of their choices."""
        return [pair for pairs in encode_choices(split, numbers, self.tokenizer) for pair in pairs]
