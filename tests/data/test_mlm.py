import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet_jax.core.batch import masked_lm_spec, pretrain_spec
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, NUM_SPECIAL_IDS, PAD_ID, SEP_ID
from fnet_jax.data.mlm import write_example, write_filler
from fnet_jax.data.segments import Segment

V, L, P = 1000, 64, 12
WORD_START = np.arange(V) % 3 == 0
WORD_START[:NUM_SPECIAL_IDS] = True


def make_segment(rng, document=1, room=L - 3) -> Segment:
    ends = np.sort(rng.choice(np.arange(1, room + 1), rng.integers(2, 6), replace=False)).astype(np.uint32)
    return Segment(document, ends, rng.integers(NUM_SPECIAL_IDS, V, ends[-1]).astype(np.uint16))


def make_example(data, seed, other=None, segment=None):
    """One example: its fields without the batch dimension, and its segment."""
    rng = np.random.default_rng(seed)
    segment = segment or make_segment(rng)
    spec = pretrain_spec(1, L, P)
    rows = {name: np.full(field.shape, 77, field.dtype)[0, ...] for name, field in spec.items()}
    rows = {name: np.atleast_1d(field) for name, field in rows.items()}
    write_example(rows, segment, rng, data, V, WORD_START, other)
    return rows, segment


def restore(rows):
    """The ids before masking."""
    ids = rows["input_ids"].copy()
    used = rows["masked_lm_weights"] == 1
    ids[rows["masked_lm_positions"][used]] = rows["masked_lm_ids"][used]
    return ids


def halves(ids):
    """A and B of unmasked ids."""
    middle, end = np.flatnonzero(ids == SEP_ID)
    return ids[1:middle], ids[middle + 1 : end]


@pytest.fixture(scope="module")
def data(make_data):
    return make_data(max_predictions_per_seq=P)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_examples_have_the_layout_of_the_original(data, seed):
    rows, segment = make_example(data, seed)
    ids, types = restore(rows), rows["type_ids"]
    length = len(segment.tokens) + 3
    middle, end = np.flatnonzero(ids == SEP_ID)
    assert ids[0] == CLS_ID and end == length - 1
    assert np.all(ids[length:] == PAD_ID)
    assert not np.any(np.isin(ids[1:length], (CLS_ID, PAD_ID, MASK_ID)))
    assert np.array_equal(types, np.r_[np.zeros(middle + 1), np.ones(end - middle), np.zeros(L - length)])
    assert rows["example_weights"] == 1


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_unmasking_restores_the_segment_and_the_label_says_whether_it_was_swapped(data, seed):
    rows, segment = make_example(data, seed)
    first, second = halves(restore(rows))
    swapped = int(rows["next_sentence_labels"][0])
    if swapped:
        first, second = second, first
    assert np.array_equal(np.r_[first, second], segment.tokens)
    assert len(first) in segment.line_ends[:-1]  # the pivot is the end of a line; neither half is empty


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), whole_words=st.booleans())
def test_masked_positions_are_ascending_and_never_special(data, seed, whole_words):
    rows, segment = make_example(dataclasses.replace(data, whole_word_masking=whole_words), seed)
    used = rows["masked_lm_weights"] == 1
    count = used.sum()
    assert np.array_equal(rows["masked_lm_weights"], np.arange(P) < count)
    positions = rows["masked_lm_positions"]
    assert np.all(np.diff(positions[used]) > 0)
    assert np.all(positions[~used] == 0) and np.all(rows["masked_lm_ids"][~used] == 0)
    assert np.all(rows["masked_lm_ids"][used] >= NUM_SPECIAL_IDS)
    assert not np.any(np.isin(restore(rows)[positions[used]], (CLS_ID, SEP_ID, PAD_ID)))
    if not whole_words:
        assert count == min(
            P, max(1, int((len(segment.tokens) + 3) * data.masking_rate)), len(segment.tokens)
        )


def test_masked_share_and_its_parts(data):
    tokens = masked = hidden = kept = 0
    labels = []
    positions = np.zeros(L)
    for seed in range(4000):
        rows, segment = make_example(data, seed)
        used = rows["masked_lm_weights"] == 1
        shown = rows["input_ids"][rows["masked_lm_positions"][used]]
        tokens += len(segment.tokens) + 3
        masked += used.sum()
        assert np.all((shown == MASK_ID) | (shown >= NUM_SPECIAL_IDS))
        hidden += (shown == MASK_ID).sum()
        kept += (shown == rows["masked_lm_ids"][used]).sum()
        labels.append(int(rows["next_sentence_labels"][0]))
        positions[rows["masked_lm_positions"][used]] += 1
    # int() rounds half a token per example away.
    assert masked / tokens == pytest.approx(0.15 - 0.5 * 4000 / tokens, abs=0.003)
    assert hidden / masked == pytest.approx(0.8, abs=0.015)
    assert kept / masked == pytest.approx(0.1 + 0.1 / V, abs=0.012)
    assert np.mean(labels) == pytest.approx(0.5, abs=0.03)


def test_every_position_is_equally_likely(data):
    rng = np.random.default_rng(0)
    segment = Segment(1, np.array([10, 30], np.uint32), rng.integers(7, V, 30).astype(np.uint16))
    counts = np.zeros(L)
    for seed in range(6000):
        rows, _ = make_example(data, seed, segment=segment)
        first = halves(restore(rows))[0]
        at = rows["masked_lm_positions"][rows["masked_lm_weights"] == 1]
        at = at - 1 - (at > len(first))  # token of A then B
        if rows["next_sentence_labels"][0]:
            at = (at + 10) % 30
        np.add.at(counts, at, 1)
    expected = 6000 * int(33 * 0.15) / 30
    assert np.all(counts[30:] == 0)
    # Five standard deviations of the binomial.
    assert np.abs(counts[:30] - expected).max() < 5 * np.sqrt(expected)


def test_whole_words_are_masked_whole(make_data):
    data = make_data(max_predictions_per_seq=P, whole_word_masking=True)
    shares = []
    for seed in range(500):
        rows, segment = make_example(data, seed)
        ids = restore(rows)
        chosen = np.zeros(L, bool)
        chosen[rows["masked_lm_positions"][rows["masked_lm_weights"] == 1]] = True
        text = ~np.isin(ids, (CLS_ID, SEP_ID, PAD_ID))
        starts = WORD_START[ids] | ~text
        starts[1:] |= ~text[:-1]
        words = np.cumsum(starts)
        for word in np.unique(words[chosen]):
            assert chosen[(words == word) & text].all()
        shares.append(chosen.sum() / (len(segment.tokens) + 3))
    assert 0.13 < np.mean(shares) < 0.25


def test_a_word_longer_than_all_predictions_is_cut(make_data):
    data = make_data(max_predictions_per_seq=P, whole_word_masking=True)
    segment = Segment(1, np.array([20, 40], np.uint32), np.full(40, 7, np.uint16))
    rows, _ = make_example(data, 0, segment=segment)
    assert rows["masked_lm_weights"].sum() == P


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_pairs_take_the_second_half_from_elsewhere(make_data, seed):
    data = make_data(max_predictions_per_seq=P, next_sentence="random")
    other = make_segment(np.random.default_rng(seed + 1), document=2)
    rows, segment = make_example(data, seed, other=other)
    first, second = halves(restore(rows))
    assert len(first) in segment.line_ends[:-1]
    assert np.array_equal(first, segment.tokens[: len(first)])
    if rows["next_sentence_labels"][0]:
        starts = [int(end) for end in other.line_ends[:-1]]
        assert any(np.array_equal(second, other.tokens[start:][: L - 3 - len(first)]) for start in starts)
    else:
        assert np.array_equal(second, segment.tokens[len(first) :])


def test_fillers_weigh_nothing():
    rows = {name: np.full(f.shape[1:] or (1,), 77, f.dtype) for name, f in pretrain_spec(1, L, P).items()}
    write_filler(rows)
    assert rows["example_weights"] == 0 and not rows["masked_lm_weights"].any()
    assert rows["input_ids"].tolist() == [CLS_ID, SEP_ID, SEP_ID] + [PAD_ID] * (L - 3)


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("whole_words", [False, True])
def test_masked_lm_alone_has_one_text_and_hides_any_token_of_it(data, seed, whole_words):
    rng = np.random.default_rng(seed)
    segment = make_segment(rng)
    rows = {
        name: np.atleast_1d(np.full(field.shape, 77, field.dtype)[0, ...])
        for name, field in masked_lm_spec(1, L, P).items()
    }
    write_example(
        rows, segment, rng, dataclasses.replace(data, whole_word_masking=whole_words), V, WORD_START
    )
    ids = restore(rows)
    end = len(segment.tokens) + 1
    assert ids.tolist() == [CLS_ID, *segment.tokens, SEP_ID, *[PAD_ID] * (L - end - 1)]
    assert not rows["type_ids"].any() and rows["example_weights"] == 1
    used = rows["masked_lm_weights"] == 1
    hidden = rows["masked_lm_positions"][used]
    assert len(set(hidden.tolist())) == len(hidden) > 0
    assert hidden.min() >= 1 and hidden.max() < end
    if not whole_words:
        assert len(hidden) == min(P, max(1, int((end + 1) * data.masking_rate)), end - 1)


def test_masked_lm_alone_reaches_every_token(data):
    """The last token too: with one [SEP] there is one position less to leave out."""
    segment = make_segment(np.random.default_rng(0))
    hidden = set()
    for seed in range(300):
        rows = {
            name: np.atleast_1d(np.zeros(field.shape, field.dtype)[0, ...])
            for name, field in masked_lm_spec(1, L, P).items()
        }
        write_example(rows, segment, np.random.default_rng(seed), data, V, WORD_START)
        hidden |= set(rows["masked_lm_positions"][rows["masked_lm_weights"] == 1].tolist())
    assert hidden == set(range(1, len(segment.tokens) + 1))
