"""Which examples a batch consists of: computed from its number, with no state to save."""

import dataclasses

import numpy as np

from fnet_jax.data.shuffle import permute


@dataclasses.dataclass(frozen=True)
class IndexSampler:
    """The order of the examples of a split, and the share of this process in every batch.

    Training goes on epoch after epoch, each a new permutation, and a batch may hold the end of one and the
    beginning of the next. Evaluation has the order of the split, and ends.

    Attributes:
        num_examples: of the split, on all hosts together.
        batch_size: B, on all hosts together.
        seed: of the permutations.
        endless: training; otherwise evaluation.
        rows: of the batch, ascending, that this host makes; None: all of them.
    """

    num_examples: int
    batch_size: int
    seed: int
    endless: bool
    rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Batches of one epoch; the last one is not full, if B does not divide it."""
        return -(-self.num_examples // self.batch_size)

    @property
    def num_rows(self) -> int:
        """Rows of a batch on this host."""
        return self.batch_size if self.rows is None else len(self.rows)

    def at(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The examples of this process in batch number `step`.

        Returns:
            Three arrays i64[R]: the epoch of each example, its place in the epoch, and its number in
            the split. R is `num_rows`, or less at the end of an evaluation, where the caller is to add
            examples of weight 0.

        Raises:
            IndexError: if there is no such batch.
        """
        if step < 0 or (not self.endless and step >= len(self)):
            raise IndexError(step)
        rows = np.arange(self.batch_size) if self.rows is None else np.array(self.rows)
        epochs, places = np.divmod(step * self.batch_size + rows, self.num_examples)
        if not self.endless:
            epochs, places = epochs[epochs == 0], places[epochs == 0]
            return epochs, places, places
        numbers = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            numbers[here] = permute(places[here], self.num_examples, self.seed, int(epoch))
        return epochs, places, numbers
