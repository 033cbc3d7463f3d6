"""Texts and pairs of texts as the ids that a model reads, whatever their length."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import PAD_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.features import features, full_length

# What becomes of texts that are longer than the model. cut: as in training, `data.truncation`. stride:
# windows that overlap by half, whose results are averaged. refuse: an error.
LongTextPolicy = Literal["cut", "stride", "refuse"]
Text = str | tuple[str, str]
Ids = Sequence[int]
Features = Mapping[str, np.ndarray]  # of one example, such as `input_ids` i32[L]


class Request(NamedTuple):
    """The examples that the model reads to answer one question, and what else the answer needs."""

    examples: Sequence[Features]
    note: Any = None


@dataclasses.dataclass
class Counts:
    """What a model has read.

    Attributes:
        texts: or pairs of texts.
        tokens: without padding.
        long: texts that did not fit into the model.
    """

    texts: int = 0
    tokens: int = 0
    long: int = 0

    def add(self, examples: Sequence[Features], is_long: bool) -> None:
        """Counts one text, which has become these examples."""
        self.texts += 1
        self.tokens += sum(int(np.sum(example["input_ids"] != PAD_ID)) for example in examples)
        self.long += is_long


@dataclasses.dataclass(frozen=True)
class Preprocessor:
    """Makes examples of texts; all are padded to `length`.

    Attributes:
        tokenizer: of the model.
        length: L.
        data: `truncation` and `swap_texts`, as in training.
        counts: of what has been read.
    """

    tokenizer: Tokenizer
    length: int
    data: DataConfig
    counts: Counts

    def texts(self, texts: Sequence[Text], long: LongTextPolicy) -> list[Request | UserError]:
        """One example of `input_ids` and `type_ids` i32[L] for each text; with stride, one a window."""
        pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
        ids_a = self.tokenizer.encode_batch([a for a, _ in pairs])
        ids_b = iter(self.tokenizer.encode_batch([b for _, b in pairs if b is not None]))
        requests = []
        for (_, b), a_ids in zip(pairs, ids_a, strict=True):
            b_ids = None if b is None else next(ids_b)
            if b_ids is not None and self.data.swap_texts:
                a_ids, b_ids = b_ids, a_ids
            requests.append(self._text(a_ids, b_ids, long))
        return requests

    def example(self, ids_a: Ids, ids_b: Ids | None = None) -> Features:
        """One example, cut to L as in training."""
        input_ids_L, type_ids_L = features(ids_a, ids_b, self.length, self.data.truncation)
        return {"input_ids": input_ids_L, "type_ids": type_ids_L}

    def refusal(self, num_tokens: int, long: LongTextPolicy) -> UserError | None:
        """What is said of a text of so many tokens if it is too long to be read; it is counted then."""
        if num_tokens <= self.length or long != "refuse":
            return None
        self.counts.add([], True)
        return UserError(
            f"text has {num_tokens} pieces, the model takes {self.length}; cut it, or take windows"
        )

    def token_text(self, token_id: int) -> str:
        """A token as text; tokens without any, such as a lone space, by their name."""
        return self.tokenizer.decode([token_id]) or self.tokenizer.id_to_token(token_id)

    def _text(self, a_ids: Ids, b_ids: Ids | None, long: LongTextPolicy) -> Request | UserError:
        num_tokens = full_length(a_ids, b_ids)
        if refused := self.refusal(num_tokens, long):
            return refused
        parts = windows(a_ids, b_ids, self.length) if long == "stride" else [(a_ids, b_ids)]
        examples = [self.example(*part) for part in parts]
        self.counts.add(examples, num_tokens > self.length)
        return Request(examples)


def window_starts(count: int, size: int) -> list[int]:
    """Where windows of `size` begin that cover `count` tokens.

    Neighbours overlap by half at least; the last window ends with the text, so that none is short.
    """
    if count <= size:
        return [0]
    return [*range(0, count - size, max(size // 2, 1)), count - size]


def windows(ids_a: Ids, ids_b: Ids | None, max_seq_length: int) -> list[tuple[Ids, Ids | None]]:
    """The parts of an example that fit into L = `max_seq_length` with their special tokens.

    Of a pair the longer text is divided. The shorter one stands in every window, cut to half of it.
    """
    if full_length(ids_a, ids_b) <= max_seq_length:
        return [(ids_a, ids_b)]
    if ids_b is None:
        return [(part, None) for part in _divided(ids_a, max_seq_length - 2)]
    room = max_seq_length - 3
    if len(ids_b) < len(ids_a):
        ids_b = ids_b[: room // 2]
        return [(part, ids_b) for part in _divided(ids_a, room - len(ids_b))]
    ids_a = ids_a[: room // 2]
    return [(ids_a, part) for part in _divided(ids_b, room - len(ids_a))]


def _divided(ids: Ids, size: int) -> list[Ids]:
    return [ids[start : start + size] for start in window_starts(len(ids), size)]
