"""Segments to pretraining examples: next-sentence pairs and masked pieces.

As in the original input pipeline (f_net `input_pipeline.py`): a pivot between two lines of a segment
gives A and B, half the time swapped (label 1). The pair with a second part from another document
(label 1) is BERT's, arXiv 1810.04805.
"""

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, NUM_SPECIAL_IDS, PAD_ID, SEP_ID
from fnet_jax.data.segments import NUM_ADDED, Segment

Rows = dict[str, np.ndarray]  # one example's row of every field of a batch, to be written into


def write_example(
    rows: Rows,
    segment: Segment,
    rng: np.random.Generator,
    data: DataConfig,
    vocab_size: int,
    is_word_start: np.ndarray,
    other: Segment | None = None,
) -> None:
    """Makes one example and writes it over `rows`.

    A pair where it has a next-sentence label, otherwise the whole segment as one text; hidden pieces where
    it has the fields of masked LM.

    Args:
        rows: a row of each field of `core.batch.pretrain_spec`, `masked_lm_spec` or `labelled_spec` (next
            sentence alone); overwritten whole.
        segment: the text.
        rng: decides the pivot, the order and the masks.
        data: rates and modes.
        vocab_size: V.
        is_word_start: bool[V]; for `data.whole_word_masking`.
        other: a segment of another document, which `data.next_sentence` = "random" needs.
    """
    ids, types = rows["input_ids"], rows["type_ids"]
    label_field = next((name for name in ("next_sentence_labels", "labels") if name in rows), "")
    types[:] = 0
    if label_field:
        first, second, rows[label_field][...] = make_pair(segment, rng, other, len(ids) - NUM_ADDED)
        middle = 1 + len(first)
        end = middle + 1 + len(second)
        ids[middle] = SEP_ID
        ids[1:middle], ids[middle + 1 : end] = first, second
        types[middle + 1 : end + 1] = 1
    else:
        middle = end = 1 + len(segment.tokens)
        ids[1:end] = segment.tokens
    ids[0], ids[end], ids[end + 1 :] = CLS_ID, SEP_ID, PAD_ID
    rows["example_weights"][...] = 1.0
    if "masked_lm_positions" not in rows:
        return
    count = min(data.max_predictions_per_seq, max(1, int((end + 1) * data.masking_rate)))
    if data.whole_word_masking:
        positions = choose_words(ids[: end + 1], is_word_start, count, data.max_predictions_per_seq, rng)
    else:
        positions = choose_pieces(middle, end, count, rng)
    mask(rows, positions, rng, data, vocab_size)


def write_filler(rows: Rows) -> None:
    """An example without text and weight: fills the last batch of a split up."""
    for field in rows.values():
        field[...] = 0
    rows["input_ids"][...] = PAD_ID
    rows["input_ids"][:NUM_ADDED] = CLS_ID, SEP_ID, SEP_ID
    rows["type_ids"][NUM_ADDED - 1] = 1


def make_pair(
    segment: Segment, rng: np.random.Generator, other: Segment | None, room: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """A, B and the next-sentence label of a segment.

    Args:
        segment: is divided between two of its lines.
        rng: decides where, and half the time the label 1.
        other: if given, label 1 takes B from here, from the beginning of a line on; otherwise it
            swaps A and B.
        room: tokens that fit; only a B from elsewhere can be longer, and is cut.
    """
    split = segment.line_ends[rng.integers(len(segment.line_ends) - 1)]
    first, second = segment.tokens[:split], segment.tokens[split:]
    if rng.random() < 0.5:
        return first, second, 0
    if other is None:
        return second, first, 1
    start = other.line_ends[rng.integers(len(other.line_ends) - 1)]
    return first, other.tokens[start:][: room - len(first)], 1


def choose_pieces(middle: int, end: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` positions, ascending, uniformly without replacement.

    Args:
        middle: position of the first [SEP].
        end: position of the last one, the same where there is one; [CLS] and [SEP] are no candidates.
        count: how many.
        rng: chooses.
    """
    candidates = end - 1 - (middle < end)
    chosen = rng.choice(candidates, min(count, candidates), replace=False, shuffle=False)
    chosen.sort()
    chosen += 1
    chosen += chosen >= middle
    return chosen


def choose_words(
    ids: np.ndarray, is_word_start: np.ndarray, count: int, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """The positions, ascending, of random whole words: as few as reach `count` pieces.

    Args:
        ids: the example without padding.
        is_word_start: bool[V].
        count: pieces to reach; the last word may go beyond it, but not beyond `limit`.
        limit: most positions to return.
        rng: chooses.
    """
    words = np.cumsum(is_word_start[ids]) - 1  # what follows [CLS] or [SEP] goes with it; is_text parts them
    is_text = (ids != CLS_ID) & (ids != SEP_ID)
    lengths = np.bincount(words, weights=is_text).astype(np.int64)
    order = rng.permutation(np.flatnonzero(lengths))
    total = np.cumsum(lengths[order])
    chosen = order[(total - lengths[order] < count) & (total <= limit)]
    if not len(chosen):  # a first word of more than `limit` pieces: a shorter one
        chosen = order[[lengths[order].argmin()]]
    return np.flatnonzero(np.isin(words, chosen) & is_text)[:limit]


def mask(
    rows: Rows, positions: np.ndarray, rng: np.random.Generator, data: DataConfig, vocab_size: int
) -> None:
    """Hides the pieces at `positions` and writes what stood there into the masked LM fields.

    Of them `data.mask_token_proportion` become [MASK], `data.random_token_proportion` a piece drawn
    uniformly from all but the special ones, and the rest stay.
    """
    ids, used = rows["input_ids"], len(positions)
    for name, values in (("positions", positions), ("ids", ids[positions]), ("weights", 1)):
        field = rows[f"masked_lm_{name}"]
        field[:used] = values
        field[used:] = 0
    draw = rng.random(used)
    masked = data.mask_token_proportion
    ids[positions[draw < masked]] = MASK_ID
    random = positions[(masked <= draw) & (draw < masked + data.random_token_proportion)]
    ids[random] = rng.integers(NUM_SPECIAL_IDS, vocab_size, len(random))
