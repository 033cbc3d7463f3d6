"""Labelled examples to batches: what all kinds of tasks share."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import numpy as np

from fnet_jax.core.batch import BatchSpec
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, PAD_ID, SEP_ID
from fnet_jax.data.sampler import IndexSampler
from fnet_jax.tasks.splits import Split

Truncation = Literal["longest_first", "tail"]
Pair = tuple[Sequence[int], Sequence[int] | None]  # tokens of the first and of the second text
Rows = dict[str, np.ndarray]  # some rows of a batch, by field


def features(
    ids_a: Sequence[int], ids_b: Sequence[int] | None, max_seq_length: int, truncation: Truncation
) -> tuple[np.ndarray, np.ndarray]:
    """One example as the model reads it: [CLS] A [SEP], or [CLS] A [SEP] B [SEP].

    Args:
        ids_a: tokens of the first text.
        ids_b: tokens of the second text; None for single texts.
        max_seq_length: L, at least 5.
        truncation: what is cut off where it is too long. longest_first: the ends of the texts, always
            of the one that is longer, as BERT; every [SEP] stays, and something of each text. tail: the
            end of the whole, as the original f_net, which can take the last [SEP] or all of B.

    Returns:
        input_ids i32[L], filled up with `PAD_ID`, and type_ids i32[L]: 1 for B and its [SEP], else 0.
    """
    if truncation == "longest_first":
        ids_a, ids_b = _longest_first(ids_a, ids_b, max_seq_length)
    tokens = [CLS_ID, *ids_a, SEP_ID]
    boundary = min(len(tokens), max_seq_length)
    if ids_b is not None:
        tokens += [*ids_b, SEP_ID]
    length = min(len(tokens), max_seq_length)
    input_ids = np.full(max_seq_length, PAD_ID, np.int32)
    type_ids = np.zeros(max_seq_length, np.int32)
    input_ids[:length] = tokens[:length]
    type_ids[boundary:length] = 1
    return input_ids, type_ids


def full_length(ids_a: Sequence[int], ids_b: Sequence[int] | None) -> int:
    """Positions of an example that is not cut."""
    return len(ids_a) + 2 if ids_b is None else len(ids_a) + len(ids_b) + 3


def _longest_first(
    ids_a: Sequence[int], ids_b: Sequence[int] | None, max_seq_length: int
) -> tuple[Sequence[int], Sequence[int] | None]:
    """The same as taking the last token of the longer text, of B if equal, until both fit."""
    if ids_b is None:
        return ids_a[: max_seq_length - 2], None
    room = max_seq_length - 3
    half_b = room // 2
    keep_b = min(len(ids_b), max(half_b, room - len(ids_a)))
    return ids_a[: room - keep_b], ids_b[:keep_b]


class ExampleBatches:
    """One labelled split as a sequence of this host's batches; each is made when it is asked for.

    Training goes on epoch after epoch, each a new permutation. Evaluation has the order of the split
    and ends; its last batch is filled up with examples of weight 0. See `data.sampler.IndexSampler`.

    Attributes:
        num_examples: of the split, on all hosts together; windows where texts are cut into some.
        sampler: which examples a batch consists of.
    """

    def __init__(
        self,
        split: Split,
        spec: Callable[[int], BatchSpec],
        write: Callable[[Rows, np.ndarray], None],
        *,
        batch_size: int,
        seed: int,
        train: bool,
        rows: tuple[int, ...] | None = None,
        num_examples: int | None = None,
    ) -> None:
        """Takes a split and how its examples become rows; batches travel to input processes with both.

        Args:
            split: what is to be learnt or predicted.
            spec: the fields of a batch of so many rows.
            write: writes the examples of some numbers over rows that are all padding and zeros.
            batch_size: B, on all hosts together.
            seed: of the permutations.
            train: endless and shuffled; otherwise every example once.
            rows: of the batch, ascending, that this host makes; None: all of them.
            num_examples: that the split is made into; None: as many as it has.

        Raises:
            UserError: if there is nothing to train on.
        """
        self.num_examples = len(split) if num_examples is None else num_examples
        if train and not split.is_labelled:
            raise UserError(f"{split.source} has no labels; a model cannot be trained on {split.name!r}")
        if not self.num_examples:
            raise UserError(f"{split.source} has no examples for {split.name!r}")
        self.sampler = IndexSampler(self.num_examples, batch_size, seed, train, rows)
        self._spec, self._write = spec(self.sampler.num_rows), write

    def __len__(self) -> int:
        """Batches of one epoch; the last one is not full, if B does not divide it."""
        return len(self.sampler)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """This host's rows of batch number `step`."""
        _, _, numbers = self.sampler.at(step)
        batch = {name: np.zeros(field.shape, field.dtype) for name, field in self._spec.items()}
        batch["input_ids"][:] = PAD_ID
        if len(numbers):
            self._write({name: field[: len(numbers)] for name, field in batch.items()}, numbers)
        batch["example_weights"][: len(numbers)] = 1
        return batch


class Window(Protocol):
    """A part of an example that is too long for one row."""

    @property
    def example(self) -> int:
        """Number of the example in its split."""
        ...


def num_whole(windows: Sequence[Window], count: int) -> int:
    """How many examples have all their windows among the first `count`."""
    return windows[count].example if count < len(windows) else windows[-1].example + 1
