"""Task `tag`: files in columns, words to tokens, windows, and files of predictions."""

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, PAD_ID, SEP_ID, UNK_ID
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.tasks.features import num_whole
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.tag.features import (
    encode_sentences,
    tag_batches,
    values_of_words,
)
from fnet_jax.tasks.tag.files import write_conll

CONLL_2003 = """-DOCSTART- -X- -X- O

Ada NNP B-NP I-PER
Byron NNP I-NP I-PER
saw VBD B-VP O
Rome NNP B-NP I-LOC

Oslo NNP B-NP I-LOC
# SYM B-NP O
Lima NNP B-NP I-LOC
Cuzco NNP I-NP B-LOC
"""


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.fixture
def read(tmp_path, make_data):
    """A function that writes a training file and reads it, with others beside it."""

    def read(text, name="train.conll", **keys):
        paths = {
            key: write(tmp_path / f"{key}.txt", keys.pop(key))
            for key in ("validation", "test")
            if key in keys
        }
        keys.setdefault("holdout_fraction", 0.4)
        return open_labelled("tag", make_data(corpus=write(tmp_path / name, text), **paths, **keys), 0)

    return read


def test_reads_columns_of_the_shared_task(read):
    data = read(CONLL_2003, validation=CONLL_2003, test="Bob\nsaw\n\nOslo\n")
    train = data.split("train")
    assert train.words == [["Ada", "Byron", "saw", "Rome"], ["Oslo", "#", "Lima", "Cuzco"]]
    assert data.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    named = [[data.labels[label] for label in labels] for labels in train.labels]
    assert named == [["B-PER", "I-PER", "O", "B-LOC"], ["B-LOC", "O", "B-LOC", "B-LOC"]]
    assert data.split("test").words == [["Bob", "saw"], ["Oslo"]]
    assert data.split("test").labels is None
    assert any("IOB1 tags" in warning for warning in data.warnings)
    assert any("have their text in the training split too" in warning for warning in data.warnings)


def test_reads_other_columns_tabs_crlf_and_comments(read):
    text = (
        "# a comment in words\r\n1\tNew York\tNNP\tx\r\n2\tis\tVBZ\ty\r\n\r\n# another\r\n1\tBig\tJJ\tz\r\n"
    )
    data = read(text, word_column=1, tag_column=2, validation=text)
    assert data.split("train").words == [["New York", "is"], ["Big"]]
    assert data.labels == ("JJ", "NNP", "VBZ")


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("a O\nb O x\n", {}, "train.conll:2: 3 columns, not 2 as the lines before"),
        ("a\nb\n", {}, "train.conll has one column, so no tags to train on"),
        ("\n\n-DOCSTART- O\n\n", {}, "train.conll holds no sentences"),
        ("a O\nb O\n", {}, "all tags are 'O'; a tagger needs two at least"),
        ("a O\n", {"word_column": 2}, "data.word_column=2: "),
        ("a O\n", {"tag_column": -3}, "train.conll:1 has 2 columns, counted from 0"),
        ("a\t\n", {}, "train.conll:1: column -1 (data.tag_column) is empty"),
        ("a B-X\nb I-Y\n\nc B-X\n", {}, "train.conll:2: tag 'I-Y' after 'B-X' is no IOB2"),
        (
            "a NN\nb VB\n",
            {"validation": "a NN\nc XX\n"},
            "validation.txt:2: label 'XX' is unknown; valid: NN, VB",
        ),
        ("a NN\nb VB\n", {}, "too few to hold out a share of"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(read, text, keys, said):
    with pytest.raises(UserError) as refused:
        read(text, **keys)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused(tmp_path, make_data):
    (tmp_path / "train.conll").write_bytes(b"a O\n\xff B-X\n")
    with pytest.raises(UserError, match=r"train\.conll:2: bytes b'\\xff' are not UTF-8"):
        open_labelled("tag", make_data(corpus=str(tmp_path)), 0)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_path):
    return load_tokenizer(tokenizer_path)


SENTENCES = [["banana", "\u200b", "tomato", "x"], ["a"], ["potato"] * 9]


def test_every_word_is_in_one_window_and_its_first_piece_is_known(tokenizer):
    windows = encode_sentences(SENTENCES, tokenizer, 16)
    for number, words in enumerate(SENTENCES):
        mine = [window for window in windows if window.example == number]
        assert [window.begin for window in mine] == [0, *(window.end for window in mine[:-1])]
        assert mine[-1].end == len(words)
        for window in mine:
            assert len(window.tokens) <= 14
            ends = [*window.starts[1:], len(window.tokens) + 1]
            for word, start, end in zip(words[window.begin : window.end], window.starts, ends, strict=True):
                expected = tokenizer.encode(word) or [UNK_ID]
                assert window.tokens[start - 1 : end - 1] == expected[:14]
    assert len([window for window in windows if window.example == 2]) > 1


def test_a_word_that_alone_is_too_long_loses_its_end(tokenizer):
    (window,) = encode_sentences([["potato" * 9]], tokenizer, 8)
    assert window.tokens == tokenizer.encode("potato" * 9)[:6]


def test_batches_label_first_tokens_alone(read, tokenizer):
    train = read(CONLL_2003, validation=CONLL_2003).split("train")
    windows = encode_sentences(train.words, tokenizer, 12)
    batches = tag_batches(train, windows, max_seq_length=12, batch_size=3, seed=0, train=False)
    rows = [
        {name: field[row] for name, field in batches[step].items()}
        for step in range(len(batches))
        for row in range(3)
    ]
    for window, row in zip(windows, rows, strict=False):
        length = len(window.tokens) + 2
        assert row["input_ids"].tolist() == [CLS_ID, *window.tokens, SEP_ID, *[PAD_ID] * (12 - length)]
        assert np.flatnonzero(row["label_weights"]).tolist() == window.starts
        labels = train.labels[window.example][window.begin : window.end]
        assert row["labels"][window.starts].tolist() == labels.tolist()
    filler = rows[len(windows) :]
    assert sum(row["example_weights"] for row in rows) == len(windows)
    assert not any(row["label_weights"].any() for row in filler)


def test_predictions_come_back_to_their_words(tokenizer):
    windows = encode_sentences(SENTENCES, tokenizer, 16)
    marks_NL = np.zeros((len(windows), 16), np.int32)
    for row, window in enumerate(windows):
        marks_NL[row, window.starts] = 100 * window.example + np.arange(window.begin, window.end)
    found = values_of_words(windows, marks_NL, 3)
    assert [words.tolist() for words in found] == [[0, 1, 2, 3], [100], list(range(200, 209))]
    # A sentence whose last window is missing is left out.
    assert num_whole(windows, len(windows)) == 3
    assert num_whole(windows, len(windows) - 1) == 2
    assert len(values_of_words(windows[:-1], marks_NL[:-1], 2)) == 2


def test_predictions_are_a_file_that_can_be_read_again(read, tmp_path):
    data = read(CONLL_2003, validation=CONLL_2003, test="Bob\nsaw\n\nOslo\n")
    train = data.split("train")
    path = str(tmp_path / "out.conll")
    write_conll(path, train, data.labels, [labels[::-1] for labels in train.labels])
    first = (tmp_path / "out.conll").read_text().split("\n\n")[0].split("\n")
    assert first == ["Ada\tB-PER\tB-LOC", "Byron\tI-PER\tO", "saw\tO\tI-PER", "Rome\tB-LOC\tB-PER"]
    write_conll(path, data.split("test"), data.labels, [np.array([3, 0]), np.array([1])])
    assert (tmp_path / "out.conll").read_text() == "Bob\tB-PER\nsaw\tO\n\nOslo\tB-LOC\n\n"
