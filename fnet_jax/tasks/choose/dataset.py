"""Multiple choice: a context with K texts each, one of which goes on from it."""

from typing import Any

import numpy as np

from fnet_jax.data.pipeline import Batches
from fnet_jax.tasks.choose.features import ChooseBatches, encode_choices
from fnet_jax.tasks.choose.files import ChooseSplit
from fnet_jax.tasks.classify.dataset import ClassifyDataset
from fnet_jax.tasks.features import Pair


class ChooseDataset(ClassifyDataset):
    """A context with K texts each, one of which goes on from it."""

    def make_batches(self, split: str, **options: Any) -> Batches:
        """See `ChooseBatches`."""
        return ChooseBatches(self.data.split(split), self.tokenizer, self.config.data, **options)

    def encode(self, split: ChooseSplit, rows: np.ndarray) -> list[Pair]:
        """The pieces of some contexts with each of their choices."""
        return [pair for pairs in encode_choices(split, rows, self.tokenizer) for pair in pairs]
