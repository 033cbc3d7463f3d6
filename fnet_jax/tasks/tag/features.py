"""Tagged sentences to batches: words to tokens, long sentences to windows."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fnet_jax.core.batch import tokens_spec
from fnet_jax.core.special_tokens import CLS_ID, SEP_ID, UNK_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.features import ExampleBatches, Rows
from fnet_jax.tasks.tag.files import TagSplit


class TagWindow(NamedTuple):
    """Neighbouring words of a sentence that fit into one example.

    Attributes:
        example: number of the sentence in the split.
        begin: number of the first word.
        tokens: of all its words, without [CLS] and [SEP].
        starts: position of the first token of each word in the example, counting [CLS].
    """

    example: int
    begin: int
    tokens: list[int]
    starts: list[int]

    @property
    def end(self) -> int:
        """Number of the word behind the last one."""
        return self.begin + len(self.starts)


def encode_sentences(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, max_seq_length: int
) -> list[TagWindow]:
    """Cuts sentences longer than L = `max_seq_length` between words, so that every word is in one window.

    Each word is tokenised by itself, as if after a space. One that leaves no token is <unk>; one that alone
    is too long loses its end.
    """
    windows: list[TagWindow] = []
    for number, words in enumerate(sentences):
        encoded = tokenizer.encode_batch(list(words))
        windows += _windows(number, encoded, max_seq_length - 2)
    return windows


def _windows(number: int, encoded: Sequence[list[int]], room: int) -> Iterator[TagWindow]:
    window = TagWindow(number, 0, [], [])
    for word, ids in enumerate(encoded):
        ids = ids[:room] or [UNK_ID]
        if len(window.tokens) + len(ids) > room:
            yield window
            window = TagWindow(number, word, [], [])
        window.starts.append(1 + len(window.tokens))
        window.tokens.extend(ids)
    yield window


def tag_batches(
    split: TagSplit, encoded: Sequence[TagWindow], *, max_seq_length: int, **options: Any
) -> ExampleBatches:
    """Windows of sentences as batches; fields as in `core.batch.tokens_spec`.

    Args:
        split: sentences and tags.
        encoded: the same, as `encode_sentences` gives it.
        max_seq_length: L.
        **options: of `ExampleBatches`, which says what is raised.
    """
    spec = functools.partial(tokens_spec, max_seq_length=max_seq_length)
    write = functools.partial(_write, split, encoded)
    return ExampleBatches(split, spec, write, num_examples=len(encoded), **options)


def _write(split: TagSplit, windows: Sequence[TagWindow], rows: Rows, numbers: np.ndarray) -> None:
    for row, number in enumerate(numbers):
        window = windows[number]
        rows["input_ids"][row, : len(window.tokens) + 2] = [CLS_ID, *window.tokens, SEP_ID]
        if split.labels is not None:
            labels = split.labels[window.example]
            rows["labels"][row, window.starts] = labels[window.begin : window.end]
            rows["label_weights"][row, window.starts] = 1


def values_of_words(
    windows: Sequence[TagWindow], values_NL: np.ndarray, num_sentences: int
) -> list[np.ndarray]:
    """What was predicted of each word, from predictions at every position.

    Args:
        windows: the first N of a split.
        values_NL: a value per window and position.
        num_sentences: whose windows are all among them.

    Returns:
        One array per sentence, a value per word.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(num_sentences)]
    for window, values_L in zip(windows, values_NL, strict=True):
        if window.example < num_sentences:
            parts[window.example].append(values_L[window.starts])
    return [np.concatenate(part) for part in parts]
