"""Task `answer`: SQuAD's files, offsets, windows, and the best span back as text."""

import json

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, PAD_ID, SEP_ID
from fnet_jax.data.tokenizer import load_tokenizer, train_tokenizer
from fnet_jax.tasks.answer.features import (
    answer_batches,
    best_answers,
    encode_questions,
)
from fnet_jax.tasks.answer.files import Answer, AnswerSplit
from fnet_jax.tasks.features import num_whole
from fnet_jax.tasks.open import open_labelled

CONTEXT = "Ada was born in London. Her father, Lord Byron, left for Italy in 1816."


def squad(*questions, context=CONTEXT):
    """A file with one paragraph; a question is (id, answers), answers are texts, [] or None."""
    qas = []
    for name, answers in questions:
        qa = {"id": name, "question": f"What about {name}?"}
        if answers is not None:
            qa["answers"] = [{"text": text, "answer_start": context.index(text)} for text in answers]
            qa["is_impossible"] = not answers
        qas.append(qa)
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}


def two_paragraphs():
    """A file from which a context can be held out."""
    value = squad(("q1", ["London"]), ("q2", []))
    other = squad(("q3", ["Bob", "Bob Dylan"]), context="It was Bob Dylan.")
    value["data"] += other["data"]
    return value


@pytest.fixture
def read(tmp_path, make_data):
    """A function that writes a training file and reads it."""

    def read(value, **keys):
        (tmp_path / "train.json").write_text(value if isinstance(value, str) else json.dumps(value))
        for name in ("validation", "test"):
            if name in keys:
                (tmp_path / f"{name}.json").write_text(json.dumps(keys.pop(name)))
                keys[name] = str(tmp_path / f"{name}.json")
        data = make_data(corpus=str(tmp_path / "train.json"), holdout_fraction=0.5, **keys)
        return open_labelled("answer", data, 0)

    return read


def test_reads_both_versions(read):
    data = read(two_paragraphs(), test=squad(("t1", None)))
    found = {
        split.ids[row]: (split.contexts[row], split.labels[row])
        for name, split in data.splits.items()
        if name != "test"
        for row in range(len(split))
    }
    assert found == {
        "q1": (CONTEXT, [Answer("London", 16)]),
        "q2": (CONTEXT, []),
        "q3": ("It was Bob Dylan.", [Answer("Bob", 7), Answer("Bob Dylan", 7)]),
    }
    assert data.split("test").labels is None
    # Questions about one context are held out together.
    assert not set(data.split("train").contexts) & set(data.split("validation").contexts)


def broken(**changes):
    value = squad(("q1", ["London"]))
    value["data"][0]["paragraphs"][0]["qas"][0].update(changes)
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "train.json:1: no JSON"),
        ("[]", "train.json: the file has no list 'data'; SQuAD's layout is"),
        ({"data": []}, "train.json holds no questions"),
        ({"data": [{"title": "t"}]}, "train.json: an article has no list 'paragraphs'"),
        ({"data": [{"paragraphs": [{"context": 3, "qas": []}]}]}, "a paragraph has no text 'context'"),
        (broken(id=5), "a question has no text 'id'"),
        (broken(question=" "), "question 'q1' has an empty field 'question'"),
        (broken(answers=[{"text": "Paris", "answer_start": 16}]),
         "question 'q1': answer 'Paris' does not stand at character 16 (answer_start) "
         "of its context, but 'Londo'"),
        (broken(answers=[{"text": "London", "answer_start": 17}]), "does not stand at character 17"),
        (broken(answers=[{"text": "London", "answer_start": 9999}]), "does not stand at character 9999"),
        (broken(answers=[{"text": "London", "answer_start": "16"}]), "answer_start='16' is no number of"),
        (broken(answers=[{"text": "London", "answer_start": -1}]), "answer_start=-1 is no number of"),
        (broken(answers={"text": "London"}), "question 'q1' has no list 'answers'"),
        (squad(("q1", ["London"]), ("q1", ["Italy"])), "two questions have the id 'q1'"),
        (squad(("q1", ["London"]), ("q2", None)), "question 'q2' has no field 'answers', and others have"),
        (squad(("q1", None)), "train.json has no answers to train on"),
        (squad(("q1", ["London"])), "too few to hold out"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(read, value, said):
    with pytest.raises(UserError) as refused:
        read(value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """One that knows letters, and hardly any words."""
    path = str(tmp_path_factory.mktemp("squad") / "small.model")
    text = (
        "The fine café, naïve as it was, is 5 km² from the city of Zürich; 12 people — all of them — know it."
    )
    train_tokenizer([text, CONTEXT], path, 90)
    return load_tokenizer(path)


# Normalisation (NFKC) makes other characters of these, in number too: the ligature, ², the decomposed é.
STRANGE = "  The \ufb01ne   cafe\u0301 is 5 km² from Zürich — you know it."
ANSWERS = ["\ufb01ne", "5 km²", "Zürich", "cafe\u0301", "know it", "The"]


def one_question(context, *answers):
    found = [Answer(text, context.index(text)) for text in answers]
    return AnswerSplit(
        name="train", ids=["q"], source="made up", questions=["Where?"], contexts=[context], labels=[found]
    )


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("length", [16, 64])
def test_an_answer_comes_back_from_its_tokens(tokenizer, make_data, answer, length):
    """Text -> characters -> tokens -> positions of a window -> logits -> text."""
    split = one_question(STRANGE, answer)
    data = make_data(doc_stride=4, max_query_length=3)
    encoded = encode_questions(split, tokenizer, data, length)
    assert (len(encoded.windows) > 1) == (length == 16)
    batches = answer_batches(split, encoded, max_seq_length=length, batch_size=64, seed=0, train=False)
    batch = batches[0]
    held = np.flatnonzero(batch["start_positions"])
    assert len(held)
    logits = np.zeros((2, len(encoded.windows), length), np.float32)
    for row in held:
        logits[0, row, batch["start_positions"][row]] = 5
        logits[1, row, batch["end_positions"][row]] = 5
    (found,) = best_answers(encoded, *logits, max_answer_length=20)
    assert found.text == answer
    assert (found.score, found.null_score) == (10, 0)


def test_windows_overlap_cover_and_hold_what_they_say(tokenizer, make_data):
    split = one_question(CONTEXT, "Lord Byron")
    encoded = encode_questions(split, tokenizer, make_data(doc_stride=5, max_query_length=64), 24)
    (question,), (context,) = encoded.questions, encoded.contexts
    room = 24 - 3 - len(question)
    begins = [window.begin for window in encoded.windows]
    assert begins == list(range(0, 5 * len(begins), 5))
    assert all(window.end - window.begin == room for window in encoded.windows[:-1])
    assert encoded.windows[-1].end == len(context.tokens) > encoded.windows[-2].end
    batch = answer_batches(split, encoded, max_seq_length=24, batch_size=32, seed=0, train=False)[0]
    first, last = encoded.answers[0]
    for row, window in enumerate(encoded.windows):
        tokens = context.tokens[window.begin : window.end].tolist()
        ids = [CLS_ID, *question, SEP_ID, *tokens, SEP_ID]
        assert batch["input_ids"][row].tolist() == ids + [PAD_ID] * (24 - len(ids))
        types = [0] * (len(question) + 2) + [1] * (len(tokens) + 1)
        assert batch["type_ids"][row].tolist() == types + [0] * (24 - len(ids))
        holds = window.begin <= first and last < window.end
        offset = len(question) + 2 - window.begin
        expected = (first + offset, last + offset) if holds else (0, 0)
        assert (batch["start_positions"][row], batch["end_positions"][row]) == expected
    assert batch["start_positions"].any() and not batch["start_positions"].all()


def test_a_stride_beyond_the_window_leaves_nothing_out(tokenizer, make_data):
    split = one_question(CONTEXT, "London")
    encoded = encode_questions(split, tokenizer, make_data(doc_stride=500, max_query_length=4), 16)
    covered = {piece for window in encoded.windows for piece in range(window.begin, window.end)}
    assert covered == set(range(len(encoded.contexts[0].tokens)))


def brute_force(start, end, longest):
    spans = [(i, j) for i in range(len(start)) for j in range(i, min(i + longest, len(start)))]
    return max(start[i] + end[j] for i, j in spans)


def test_the_best_span_is_the_best_of_all_and_within_the_context(tokenizer, make_data):
    split = one_question(CONTEXT, "London")
    encoded = encode_questions(split, tokenizer, make_data(doc_stride=6, max_query_length=4), 20)
    rng = np.random.default_rng(0)
    first = len(encoded.questions[0]) + 2
    for longest in (1, 3, 50):
        start, end = rng.normal(size=(2, len(encoded.windows), 20)).astype(np.float32)
        start[:, :first] = end[:, :first] = 50  # question and [CLS] are no answer
        (found,) = best_answers(encoded, start, end, longest)
        expected = max(
            brute_force(start[row, first : first + n], end[row, first : first + n], longest)
            for row, window in enumerate(encoded.windows)
            for n in [window.end - window.begin]
        )
        assert found.score == pytest.approx(expected, abs=1e-6)
        assert found.text in CONTEXT and found.null_score == 100


def test_a_question_whose_windows_are_not_all_there_is_left_out(tokenizer, make_data):
    split = AnswerSplit(
        name="v", ids=["a", "b"], source="made up", questions=["A?", "B?"], contexts=[CONTEXT, CONTEXT]
    )
    encoded = encode_questions(split, tokenizer, make_data(doc_stride=5), 24)
    count = len(encoded.windows)
    zeros = np.zeros((count, 24), np.float32)
    assert num_whole(encoded.windows, count) == 2
    assert len(best_answers(encoded, zeros, zeros, 5)) == 2
    assert len(best_answers(encoded, zeros[:-1], zeros[:-1], 5)) == 1
