"""Prepared segments to batches: the number of a batch in, its arrays out.

Example i of epoch e is a pure function of (seed, e, i). So the step alone says where a run is in its data, on
any number of hosts and worker processes.
"""

import os
from collections.abc import Iterator
from typing import Literal, Protocol

import grain
import numpy as np
from array_record.python import array_record_data_source

from fnet_jax.core.batch import BatchSpec, labelled_spec, masked_lm_spec, pretrain_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data.dataset import check_info, load_info
from fnet_jax.data.mlm import write_example, write_filler
from fnet_jax.data.sampler import IndexSampler
from fnet_jax.data.segments import Segment
from fnet_jax.data.tokenizer import load_tokenizer

Split = Literal["train", "heldout"]

# A field that stays on the host, i64[R, 2]: row of the whole batch and number of the example in the split.
EXAMPLE_IDS = "example_ids"

_READ_AHEAD = 8  # batches
_STREAMS = {"train": 0, "heldout": 1}  # of random numbers


class PretrainBatches:
    """One split as a sequence of batches, of which this host makes its rows when it is asked for them.

    Training goes on epoch after epoch, each with a new order, new pairs and masks, and a batch may hold the
    end of one and the beginning of the next. The held-out split has a fixed order, fixed pairs and masks, and
    ends; its last batch is filled up with examples of weight 0.

    Attributes:
        num_examples: of the split, on all hosts together.
        sampler: which examples a batch consists of.
        vocab_size: V.
    """

    def __init__(
        self,
        directory: str,
        split: Split,
        data: DataConfig,
        *,
        max_seq_length: int,
        batch_size: int,
        seed: int,
        rows: tuple[int, ...] | None = None,
        task: str = "pretrain",
    ) -> None:
        """Opens a split.

        Args:
            directory: the prepared data set.
            split: "train" or "heldout".
            data: how to make pairs and masks.
            max_seq_length: L; the data set's.
            batch_size: B, on all hosts together.
            seed: below 2**32.
            rows: of the batch, ascending, that this host makes; None: all of them.
            task: which fields the batches have: pretrain, masked_lm (examples are single texts) or
                next_sentence (nothing is masked).

        Raises:
            UserError: if there is no such data set, if it has another length, or if random pairs are to be
                made of a single document.
        """
        info = load_info(directory)
        check_info(info, directory, max_seq_length)
        self._takes_others = data.next_sentence == "random" and task != "masked_lm"
        if self._takes_others and info.splits[split].documents < 2:
            raise UserError(
                f"data.next_sentence='random' needs two documents, the split {split!r} of {directory} has "
                "one; use 'swap', or raise data.holdout_fraction and prepare anew"
            )
        self.num_examples = info.splits[split].segments
        self.vocab_size = info.vocab_size
        self._data, self._split, self._seed, self._task = data, split, seed, task
        self._max_seq_length = max_seq_length
        self.sampler = IndexSampler(self.num_examples, batch_size, seed, split == "train", rows)
        self._dtype = info.dtype
        self._records = array_record_data_source.ArrayRecordDataSource(
            [os.path.join(directory, name) for name in info.splits[split].files]
        )
        self._is_word_start = load_tokenizer(os.path.join(directory, TOKENIZER_FILE)).is_word_start

    def __len__(self) -> int:
        """Batches of one epoch; the last one is not full, if B does not divide it."""
        return len(self.sampler)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """This host's rows of batch number `step`; see `core.batch` for its fields."""
        epochs, places, numbers = self.sampler.at(step)
        num_rows, real = self.sampler.num_rows, len(numbers)
        spec = self._spec(num_rows)
        batch = {name: np.empty(field.shape, field.dtype) for name, field in spec.items()}
        segments = self._segments(numbers)
        rngs = [self._rng(*key) for key in zip(epochs.tolist(), places.tolist(), strict=True)]
        others = self._others(segments, rngs) if self._takes_others else [None] * real
        views = _views(batch)
        for row, (segment, rng, other) in enumerate(zip(segments, rngs, others, strict=True)):
            rows = {name: field[row] for name, field in views.items()}
            write_example(rows, segment, rng, self._data, self.vocab_size, self._is_word_start, other)
        for row in range(real, num_rows):
            write_filler({name: field[row] for name, field in views.items()})
        return batch

    def _spec(self, num_rows: int) -> BatchSpec:
        if self._task == "next_sentence":
            return labelled_spec(num_rows, self._max_seq_length, regression=False)
        make = masked_lm_spec if self._task == "masked_lm" else pretrain_spec
        return make(num_rows, self._max_seq_length, self._data.max_predictions_per_seq)

    def _segments(self, numbers: np.ndarray) -> list[Segment]:
        if not len(numbers):  # which ArrayRecord refuses
            return []
        records = self._records.__getitems__(numbers.tolist())
        return [Segment.from_bytes(record, self._dtype) for record in records]

    def _rng(self, epoch: int, index: int) -> np.random.Generator:
        """Philox is keyed, not seeded: any two different keys give independent streams."""
        key = np.array([_STREAMS[self._split] << 32 | self._seed, epoch << 40 | index], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def _others(self, segments: list[Segment], rngs: list[np.random.Generator]) -> list[Segment | None]:
        """For each segment a random one of another document."""
        found: list[Segment | None] = [None] * len(segments)
        missing = list(range(len(segments)))
        while missing:
            numbers = np.array([rngs[row].integers(self.num_examples) for row in missing])
            for row, candidate in zip(missing, self._segments(numbers), strict=True):
                if candidate.document != segments[row].document:
                    found[row] = candidate
            missing = [row for row in missing if found[row] is None]
        return found


def _views(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fields, with one dimension more where a row would be a scalar and could not be written to."""
    return {name: field if field.ndim > 1 else field[:, None] for name, field in batch.items()}


class Batches(Protocol):
    """A sequence of batches, such as `PretrainBatches` and `tasks.features.ExampleBatches`.

    Attributes:
        sampler: which examples a batch consists of.
    """

    sampler: IndexSampler

    def __len__(self) -> int:
        """Batches of one epoch."""
        ...

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """This host's rows of batch number `step`."""
        ...


class WithExampleIds:
    """Batches with one more field, `EXAMPLE_IDS`, which says which examples they consist of."""

    def __init__(self, batches: Batches) -> None:
        self._batches, self.sampler = batches, batches.sampler

    def __len__(self) -> int:
        """Batches of one epoch."""
        return len(self._batches)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """See `Batches`."""
        rows, (_, _, numbers) = self.sampler.rows, self.sampler.at(step)
        ids = np.stack([np.arange(len(numbers)) if rows is None else rows, numbers], axis=1)
        return {**self._batches[step], EXAMPLE_IDS: ids}


def iterate(
    batches: Batches, start_step: int, stop_step: int, num_workers: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Yields the batches [start_step, stop_step), made ahead of time.

    Args:
        batches: of one split.
        start_step: first batch.
        stop_step: the one after the last.
        num_workers: processes that make them, which changes nothing about them; 0: a thread of this process.

    Raises:
        Exception: what a worker raised, or an error of Grain's if a worker died.
    """
    steps = grain.MapDataset.range(start_step, stop_step).map(batches.__getitem__)
    if num_workers:
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        dataset = steps.to_iter_dataset(options).mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        )
    else:
        dataset = steps.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=_READ_AHEAD))
    return iter(dataset)
