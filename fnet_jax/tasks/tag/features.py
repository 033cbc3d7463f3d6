"""Tagged sentences to batches: words to pieces, long sentences to windows."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fnet_jax.core.batch import tokens_spec
from fnet_jax.core.special_tokens import CLS_ID, SEP_ID, UNK_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.features import ExampleBatches
from fnet_jax.tasks.tag.files import TagSplit


class WordWindow(NamedTuple):
    """Neighbouring words of a sentence that fit into one example.

    Attributes:
        sentence: its number in the split.
        begin: number of the first word.
        pieces: of all its words, without [CLS] and [SEP].
        starts: position of the first piece of each word in the example, counting [CLS].
    """

    sentence: int
    begin: int
    pieces: list[int]
    starts: list[int]

    @property
    def end(self) -> int:
        """Number of the word behind the last one."""
        return self.begin + len(self.starts)


def word_windows(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, max_seq_length: int
) -> list[WordWindow]:
    """Cuts sentences longer than L = `max_seq_length` between words, so that every word is in one window.

    Each word is tokenised by itself, as if after a space. One that leaves no piece is <unk>; one that alone
    is too long loses its end.
    """
    windows = []
    for number, words in enumerate(sentences):
        encoded = tokenizer.encode_batch(list(words))
        windows += list(_windows(number, encoded, max_seq_length - 2))
    return windows


def _windows(number: int, encoded: Sequence[list[int]], room: int) -> Iterator[WordWindow]:
    window = WordWindow(number, 0, [], [])
    for word, ids in enumerate(encoded):
        ids = ids[:room] or [UNK_ID]
        if len(window.pieces) + len(ids) > room:
            yield window
            window = WordWindow(number, word, [], [])
        window.starts.append(1 + len(window.pieces))
        window.pieces.extend(ids)
    yield window


class TagBatches(ExampleBatches):
    """Windows of sentences; fields as in `core.batch.tokens_spec`."""

    def __init__(
        self, split: TagSplit, windows: Sequence[WordWindow], *, max_seq_length: int, **options: Any
    ) -> None:
        """Takes a split and its windows.

        Args:
            split: sentences and tags.
            windows: of `word_windows`.
            max_seq_length: L.
            **options: of `ExampleBatches`.

        Raises:
            UserError: if there is nothing to train on.
        """
        super().__init__(
            split, lambda size: tokens_spec(size, max_seq_length), num_examples=len(windows), **options
        )
        self._split, self._windows = split, windows

    def _fill(self, rows: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        for row, number in enumerate(numbers):
            window = self._windows[number]
            rows["input_ids"][row, : len(window.pieces) + 2] = [CLS_ID, *window.pieces, SEP_ID]
            if self._split.labels is not None:
                labels = self._split.labels[window.sentence]
                rows["labels"][row, window.starts] = labels[window.begin : window.end]
                rows["label_weights"][row, window.starts] = 1


def label_of_words(
    windows: Sequence[WordWindow], labels_NL: np.ndarray, num_sentences: int
) -> list[np.ndarray]:
    """What was predicted of each word, from predictions at every position.

    Args:
        windows: the first N of a split.
        labels_NL: a value per window and position.
        num_sentences: whose windows are all among them.

    Returns:
        One array per sentence, a value per word.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(num_sentences)]
    for window, labels_L in zip(windows, labels_NL, strict=True):
        if window.sentence < num_sentences:
            parts[window.sentence].append(labels_L[window.starts])
    return [np.concatenate(part) for part in parts]


def whole_sentences(windows: Sequence[WordWindow], count: int) -> int:
    """How many sentences have all their windows among the first `count`."""
    return windows[count].sentence if count < len(windows) else windows[-1].sentence + 1
