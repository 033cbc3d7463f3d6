import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet_jax.core.special_tokens import NUM_SPECIAL_IDS, UNK_ID
from fnet_jax.data.segments import Segment, document_hash, segments, token_dtype
from fnet_jax.data.tokenizer import load_tokenizer
from tests.data.conftest import make_documents

# Among them tokens that look special.
FRAGMENTS = ["ba", "na ", "b. ", "A", "\n", " ", "[SEP]", "[CLS] ", "[MASK]", "<pad>", "\u6f22"]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), max_size=200).map("".join)
LENGTHS = [8, 9, 16, 64, 512]


def as_numpy(segment: Segment):
    return segment.document, segment.line_ends.tolist(), segment.tokens.tolist()


@pytest.mark.parametrize("vocab_size", [500, 2**16, 2**16 + 1])
def test_records_round_trip(vocab_size):
    dtype = token_dtype(vocab_size)
    assert dtype.itemsize == (2 if vocab_size <= 2**16 else 4)
    segment = Segment(2**64 - 3, np.array([2, 3]), np.array([7, vocab_size - 1, 9]))
    assert as_numpy(Segment.from_bytes(segment.to_bytes(dtype), dtype)) == as_numpy(segment)


@pytest.mark.parametrize("max_seq_length", LENGTHS)
def test_segments_fit_and_nearly_all_text_is_kept(tokenizer_path, max_seq_length):
    tokenizer = load_tokenizer(tokenizer_path)
    kept = total = 0
    for text in make_documents(40, seed=1):
        found, num_tokens = segments(text, tokenizer, max_seq_length)
        total += num_tokens
        for segment in found:
            kept += len(segment.tokens)
            assert len(segment.line_ends) >= 2
            assert len(segment.tokens) <= max_seq_length - 3
            assert np.all(np.diff(segment.line_ends, prepend=0) > 0)
            assert segment.line_ends[-1] == len(segment.tokens)
            assert segment.document == document_hash(text)
    assert kept >= 0.98 * total


@pytest.mark.parametrize("max_seq_length", LENGTHS)
def test_segments_are_the_text_in_order(tokenizer_path, max_seq_length):
    tokenizer = load_tokenizer(tokenizer_path)
    text = max(make_documents(10, seed=2), key=len)
    found, num_tokens = segments(text, tokenizer, max_seq_length)
    tokens = np.concatenate([segment.tokens for segment in found])
    whole = np.array(tokenizer.encode(" ".join(text.split())))
    # All of it, but perhaps a last line that could not be paired.
    assert num_tokens == len(whole)
    assert np.array_equal(tokens, whole[: len(tokens)])
    assert len(tokens) >= len(whole) - max_seq_length // 2


@settings(deadline=None)
@given(text=TEXTS, max_seq_length=st.integers(8, 40))
def test_any_text_gives_segments_that_fit_without_special_tokens(tokenizer_path, text, max_seq_length):
    found, _ = segments(text, load_tokenizer(tokenizer_path), max_seq_length)
    for segment in found:
        assert len(segment.line_ends) >= 2
        assert 2 <= len(segment.tokens) <= max_seq_length - 3
        assert np.all((segment.tokens == UNK_ID) | (segment.tokens >= NUM_SPECIAL_IDS))


def test_a_document_of_one_line_is_split_into_sentences(tokenizer_path):
    found, _ = segments("Bana bena. Bina bona.", load_tokenizer(tokenizer_path), 64)
    assert len(found) == 1
    assert len(found[0].line_ends) == 2


def test_a_single_sentence_gives_nothing(tokenizer_path):
    found, num_tokens = segments("Bana bena.", load_tokenizer(tokenizer_path), 64)
    assert found == []
    assert num_tokens > 0


def test_a_last_line_alone_takes_its_predecessor(tokenizer_path):
    tokenizer = load_tokenizer(tokenizer_path)
    size = len(tokenizer.encode("Bana bena bona."))
    found, _ = segments("\n".join(["Bana bena bona."] * 4), tokenizer, 3 * size + 3)
    assert [len(segment.line_ends) for segment in found] == [2, 2]
