"""Exact match and F1 of SQuAD, counted by hand from the definitions in its papers."""

import pytest

from fnet_jax.tasks.answer.files import Answer
from fnet_jax.tasks.answer.scores import exact_match, normalized, score_answers, token_f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Norman's an apple.", "normans apple"),
        ("a-b c.", "ab c"),
        ("Theatre, AN", "theatre"),
        ("the a an", ""),
        ("5,000 km²", "5000 km²"),
    ],
)
def test_normalized(text, expected):
    assert normalized(text) == expected


@pytest.mark.parametrize(
    ("answer", "predicted", "exact", "f1"),
    [
        ("the cat", "Cat!", 1, 1),
        ("black cat", "cat", 0, 2 / 3),  # P = 1, R = 1/2
        ("the cat sat", "a cat sat down", 0, 4 / 5),  # P = 2/3, R = 1
        ("cat cat dog", "cat dog dog", 0, 2 / 3),  # each word counts as often as it stands in both
        ("cat", "dog", 0, 0),
        ("", "", 1, 1),
        ("", "cat", 0, 0),
        ("cat", "", 0, 0),
    ],
)
def test_one_answer(answer, predicted, exact, f1):
    assert exact_match(answer, predicted) == exact
    assert token_f1(answer, predicted) == pytest.approx(f1)


def test_the_best_of_several_right_answers_counts():
    answers = [[Answer("Lord Byron", 0), Answer("Byron", 5)], [Answer("in 1816", 0)]]
    scores = score_answers(answers, ["Byron", "1816"])
    assert scores.values == {
        "exact_match": 0.5,
        "f1": pytest.approx((1 + 2 / 3) / 2),
        "score": scores.values["f1"],
    }
    assert scores.baseline == {} and scores.warnings == ()


def test_questions_without_an_answer():
    answers = [[Answer("cat", 0)], [], [Answer("big dog", 0)], []]
    scores = score_answers(answers, ["cat", "", "dog", "cow"])
    assert scores.values == {
        "exact_match": 0.5,
        "f1": pytest.approx((1 + 1 + 2 / 3 + 0) / 4),
        "score": scores.values["f1"],
        "has_answer_exact_match": 0.5,
        "has_answer_f1": pytest.approx((1 + 2 / 3) / 2),
        "no_answer_accuracy": 0.5,
    }
    assert scores.baseline["exact_match"] == 0.5  # to answer none


def test_one_answer_to_all_is_no_result():
    scores = score_answers([[Answer("cat", 0)], [Answer("dog", 0)]], ["cow", "cow"])
    assert scores.warnings == ("the model answers 'cow' to all 2 questions",)
