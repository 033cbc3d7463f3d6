"""Segments to pretraining examples: next-sentence pairs and masked tokens.

As in the original input pipeline (f_net `input_pipeline.py`): a pivot between two lines of a segment
gives A and B, half the time swapped (label 1). Pairs with a B from another document (label 1) are BERT's,
arXiv 1810.04805.
"""

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, NUM_SPECIAL_IDS, PAD_ID, SEP_ID
from fnet_jax.data.segments import NUM_ADDED, Segment

Rows = dict[str, np.ndarray]  # the row of one example in every field of a batch, to be written into


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

    With a next-sentence label it is a pair, otherwise the whole segment as one text. Tokens are hidden if
    there are fields of masked LM.

    Args:
        rows: a row of each field of `core.batch.pretrain_spec`, `masked_lm_spec` or `labelled_spec` (next
            sentence alone).
        segment: the text.
        rng: draws the pivot, the order and the masks.
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
        positions = choose_tokens(middle, end, count, rng)
    mask(rows, positions, rng, data, vocab_size)


def write_filler(rows: Rows) -> None:
    """Writes an example without text and with weight 0, which fills up the last batch of a split."""
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
        segment: divided between two of its lines.
        rng: draws where, and the label.
        other: where label 1 takes B from, beginning at some line; without it, label 1 swaps A and B.
        room: tokens that fit; a B from elsewhere is cut to that.
    """
    split = segment.line_ends[rng.integers(len(segment.line_ends) - 1)]
    first, second = segment.tokens[:split], segment.tokens[split:]
    if rng.random() < 0.5:
        return first, second, 0
    if other is None:
        return second, first, 1
    start = other.line_ends[rng.integers(len(other.line_ends) - 1)]
    return first, other.tokens[start:][: room - len(first)], 1


def choose_tokens(middle: int, end: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` positions, ascending, uniformly without replacement.

    Args:
        middle: position of the first [SEP].
        end: position of the last [SEP], equal to `middle` if there is only one.
        count: how many; [CLS] and [SEP] are never chosen.
        rng: draws them.
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
    """The positions, ascending, of random whole words: as few as reach `count` tokens.

    Args:
        ids: the example without padding.
        is_word_start: bool[V].
        count: tokens to reach; the last word may go beyond it, but not beyond `limit`.
        limit: most positions to return.
        rng: draws them.
    """
    # Number of the word at each position. What follows [CLS] or [SEP] has its number; is_text parts them.
    words = np.cumsum(is_word_start[ids]) - 1
    is_text = (ids != CLS_ID) & (ids != SEP_ID)
    lengths = np.bincount(words, weights=is_text).astype(np.int64)
    order = rng.permutation(np.flatnonzero(lengths))
    total = np.cumsum(lengths[order])
    chosen = order[(total - lengths[order] < count) & (total <= limit)]
    if not len(chosen):  # a first word of more than `limit` tokens: a shorter one
        chosen = order[[lengths[order].argmin()]]
    return np.flatnonzero(np.isin(words, chosen) & is_text)[:limit]


def mask(
    rows: Rows, positions: np.ndarray, rng: np.random.Generator, data: DataConfig, vocab_size: int
) -> None:
    """Hides the tokens at `positions` and writes what stood there into the masked LM fields.

    The share `data.mask_token_proportion` of them becomes [MASK], the share `data.random_token_proportion` a
    token drawn uniformly from all but the special ones, and the rest stay.
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
