import json
import pickle

import numpy as np
import pytest
import sentencepiece

from fnet_jax.core import special_tokens
from fnet_jax.core.errors import UserError
from fnet_jax.data.tokenizer import load_tokenizer, train_tokenizer, training_lines
from fnet_jax.tasks.features import features
from tests.data.conftest import make_documents

LINES = [line for text in make_documents(60) for line in text.splitlines()]
SAMPLE = "The quick brown fox jumps over the lazy dog."


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_training_gives_the_original_special_ids_and_repeats(tmp_path, algorithm):
    first = train_tokenizer(LINES, str(tmp_path / "a.model"), 300, algorithm)
    second = train_tokenizer(LINES, str(tmp_path / "b.model"), 300, algorithm)
    assert first.model == second.model
    assert [first.id_to_token(i) for i in range(7)] == list(special_tokens.SPECIAL_TOKENS)
    assert first.vocab_size == 300
    assert load_tokenizer(str(tmp_path / "a.model")).sha256 == first.sha256
    assert first.decode(first.encode(LINES[0])) == LINES[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.model", "b.model"]


def test_special_tokens_are_recognised_in_text(tokenizer_path):
    tokenizer = load_tokenizer(tokenizer_path)
    assert special_tokens.MASK_ID in tokenizer.encode("Bana [MASK] bana")
    assert special_tokens.UNK_ID in tokenizer.encode("\u6f22")


def test_word_starts(tokenizer_path):
    tokenizer = load_tokenizer(tokenizer_path)
    starts_V = tokenizer.is_word_start
    assert starts_V.shape == (500,)
    assert starts_V[1 : special_tokens.NUM_SPECIAL_IDS].all()
    ids = tokenizer.encode("Bana be\u6f22na. bina")
    assert special_tokens.UNK_ID in ids
    assert starts_V[ids].sum() == 3


def test_a_batch_is_encoded_as_its_texts(tokenizer_path):
    tokenizer = load_tokenizer(tokenizer_path)
    assert tokenizer.encode_batch(LINES[:5], num_threads=2) == [tokenizer.encode(line) for line in LINES[:5]]


def test_tokenizers_travel_to_other_processes(tokenizer_path):
    tokenizer = load_tokenizer(tokenizer_path)
    assert pickle.loads(pickle.dumps(tokenizer)).sha256 == tokenizer.sha256


def test_too_large_a_vocabulary_names_one_that_works(tmp_path):
    path = str(tmp_path / "x.model")
    with pytest.raises(UserError, match=r"data\.tokenizer_pieces=9000 is too large") as error:
        train_tokenizer(LINES[:20], path, 9000)
    largest = int(str(error.value).split("use at most ")[1])
    assert train_tokenizer(LINES[:20], path, largest).vocab_size == largest


def test_too_small_a_vocabulary_names_one_that_works(tmp_path):
    path = str(tmp_path / "x.model")
    with pytest.raises(UserError, match=r"data\.tokenizer_pieces=10 is too small") as error:
        train_tokenizer(LINES, path, 10)
    assert train_tokenizer(LINES, path, int(str(error.value).split("at least ")[1]))


def test_no_text_is_said(tmp_path):
    with pytest.raises(UserError, match="no text"):
        train_tokenizer([], str(tmp_path / "x.model"), 100)


def test_wrong_layout_is_refused(tmp_path):
    prefix = str(tmp_path / "plain")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_prefix=prefix, vocab_size=200, minloglevel=2
    )
    with pytest.raises(UserError, match=r"data\.tokenizer=.*plain\.model.*<pad>.*train_tokenizer"):
        load_tokenizer(prefix + ".model")


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.tokenizer=.*No such file"):
        load_tokenizer(str(tmp_path / "none.model"))
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="is no SentencePiece model"):
        load_tokenizer(str(tmp_path / "bad.model"))


def test_training_lines_come_from_every_shard():
    shards = [[f"Shard {i} document {j}." for j in range(100)] for i in range(4)]
    lines = list(training_lines(shards, max_bytes=400))
    assert {line.split()[1] for line in lines} == {"0", "1", "2", "3"}
    assert 400 <= sum(map(len, lines)) < 500


def test_the_original_tokenizer_is_taken_as_it_is(real_data):
    tokenizer = load_tokenizer(str(real_data / "spm" / "c4_bpe_sentencepiece.model"))
    assert tokenizer.vocab_size == 32_000
    # It keeps the case: "The" is another token than "the".
    assert tokenizer.encode(SAMPLE) == [97, 1467, 5187, 26, 2521, 4567, 16664, 372, 13, 16209, 3314, 16678]
    assert tokenizer.encode(SAMPLE.lower())[0] == 13
    starts = tokenizer.is_word_start[np.array(tokenizer.encode(SAMPLE))]
    assert starts.sum() == 9


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_mask_hides_one_word_and_leaves_the_others_as_they_were(tmp_path, algorithm):
    """As in pretraining, where a token is hidden in a text that has been cut."""
    tokenizer = train_tokenizer(LINES, str(tmp_path / "x.model"), 300, algorithm)
    for line in LINES[:20]:
        words = line.split()
        for number in (0, len(words) // 2, len(words) - 1):
            word = words[number].rstrip(".")
            end = words[number][len(word) :]
            before = tokenizer.encode(" ".join(words[:number]))
            after = tokenizer.encode(" ".join(["x" + end, *words[number + 1 :]]))[
                len(tokenizer.encode("x")) :
            ]
            masked = " ".join([*words[:number], "[MASK]" + end, *words[number + 1 :]])
            assert tokenizer.encode_masked(masked) == [*before, special_tokens.MASK_ID, *after]
    assert tokenizer.encode_masked("[MASK] [MASK]") == [special_tokens.MASK_ID] * 2
    assert tokenizer.encode_masked("  ") == []


def test_the_published_ids_of_masked_texts(real_data):
    """Those of transformers' own tests for google/fnet-base."""
    tokenizer = load_tokenizer(str(real_data / "spm" / "c4_bpe_sentencepiece.model"))
    expected = json.loads((real_data / "fixtures" / "fnet_base_expected.json").read_text())[
        "pair_tokenization"
    ]
    ids_a, ids_b = (tokenizer.encode_masked(expected[name], hf_spacing=True) for name in ("text_a", "text_b"))
    input_ids_L, type_ids_L = features(ids_a, ids_b, expected["max_length"], "longest_first")
    prefix = expected["ids_prefix"]
    assert input_ids_L[: len(prefix)].tolist() == prefix
    assert (input_ids_L[len(prefix) :] == expected["pad_id_then"]).all()
    assert type_ids_L.sum() == len(ids_b) + 1
    # As the original hides tokens, "." goes on with the hidden word.
    whole = tokenizer.encode(expected["text_a"].replace("[MASK]", "carpenter"))
    assert tokenizer.encode_masked(expected["text_a"]) == [*whole[:5], special_tokens.MASK_ID, whole[-1]]
