"""Segments: the stretches of one document that become examples, and how they lie in a record.

A record is, little-endian and without padding:

| bytes | what |
|---|---|
| 8 | uint64: hash of the document |
| 4 | uint32: number of lines n |
| 4 n | uint32[n]: end of each line, counted in tokens from the segment's first one |
| rest | uint16 or uint32: the tokens, as `token_dtype` says |
"""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from fnet_jax.core.special_tokens import NUM_SPECIAL_IDS, UNK_ID
from fnet_jax.data.text import paragraphs, sentences
from fnet_jax.data.tokenizer import Tokenizer

NUM_ADDED = 3  # [CLS] A [SEP] B [SEP]


@dataclasses.dataclass(frozen=True)
class Segment:
    """Two or more consecutive lines of one document.

    Attributes:
        document: hash of the document, 64 bits.
        line_ends: u32[n], n ≥ 2, ascending; the last one is the number of tokens.
        tokens: unsigned integers, no special token but `<unk>` among them.
    """

    document: int
    line_ends: np.ndarray
    tokens: np.ndarray

    def to_bytes(self, dtype: np.dtype) -> bytes:
        """The record, with tokens of `dtype`."""
        head = (
            np.uint64(self.document).astype("<u8").tobytes()
            + np.uint32(len(self.line_ends)).astype("<u4").tobytes()
        )
        return head + self.line_ends.astype("<u4").tobytes() + self.tokens.astype(dtype).tobytes()

    @classmethod
    def from_bytes(cls, record: bytes, dtype: np.dtype) -> "Segment":
        """The inverse of `to_bytes`; the arrays are views of the record."""
        count = int.from_bytes(record[8:12], "little")
        ends = np.frombuffer(record, "<u4", count, 12)
        return cls(
            int.from_bytes(record[:8], "little"), ends, np.frombuffer(record, dtype, offset=12 + 4 * count)
        )


def token_dtype(vocab_size: int) -> np.dtype:
    """The narrowest unsigned integer that holds every id."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


def document_hash(text: str) -> int:
    """64 bits that depend on the text alone; they decide whether it is held out."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def segments(text: str, tokenizer: Tokenizer, max_seq_length: int) -> tuple[list[Segment], int]:
    """Cuts a document into segments.

    Consecutive lines are packed as long as they fit with [CLS] and two [SEP]. As any two lines must
    fit together, lines of more than half the room are first split into sentences, and sentences of
    more than half the room into equal stretches, so that no text is lost for its length.

    Args:
        text: the document.
        tokenizer: encodes each line on its own.
        max_seq_length: L.

    Returns:
        The segments, none if the document is a single sentence; and the number of tokens of the
        document, of which the segments hold nearly all.
    """
    room = max_seq_length - NUM_ADDED
    lines = paragraphs(text)
    if len(lines) == 1:
        lines = sentences(lines[0])
    units: list[np.ndarray] = []
    for line, ids in zip(lines, tokenizer.encode_batch(lines), strict=True):
        units += _fit(line, ids, room // 2, tokenizer)
    tokens = np.concatenate(units) if units else np.zeros(0, np.uint32)
    # Text that spells out "[SEP]" is no separator.
    tokens[tokens < NUM_SPECIAL_IDS] = UNK_ID
    ends = np.cumsum([0, *map(len, units)])
    document = document_hash(text)
    found = [
        Segment(
            document,
            (ends[first + 1 : last + 1] - ends[first]).astype(np.uint32),
            tokens[ends[first] : ends[last]],
        )
        for first, last in _pack([len(unit) for unit in units], room)
    ]
    return found, len(tokens)


def _fit(line: str, ids: list[int], limit: int, tokenizer: Tokenizer) -> Iterator[np.ndarray]:
    """The line as arrays of at most `limit` ids: whole, or its sentences, or equal stretches of these."""
    parts = [ids]
    if len(ids) > limit:
        parts = tokenizer.encode_batch(sentences(line))
    for part in parts:
        if part:
            yield from np.array_split(np.asarray(part, np.uint32), -(-len(part) // limit))


def _pack(lengths: list[int], room: int) -> list[tuple[int, int]]:
    """Greedy ranges [first, last) of lines that fit, each of two lines or more.

    A single line left over at the end takes its predecessor from the range before if that can spare
    it; otherwise it is dropped.
    """
    ranges: list[tuple[int, int]] = []
    first = used = 0
    for index, length in enumerate(lengths):
        if used + length > room:
            ranges.append((first, index))
            first, used = index, 0
        used += length
    if len(lengths) - first >= 2:
        ranges.append((first, len(lengths)))
    elif ranges and first < len(lengths) and ranges[-1][1] - ranges[-1][0] > 2:
        ranges[-1] = (ranges[-1][0], first - 1)
        ranges.append((first - 1, len(lengths)))
    return ranges
