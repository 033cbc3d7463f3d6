"""Scores of answers against torchmetrics, which follows SQuAD's evaluation script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fnet_jax.tasks.answer.files import Answer
from fnet_jax.tasks.answer.scores import normalized, score_answers

torchmetrics = pytest.importorskip(
    "torchmetrics.functional.text",
    reason="torchmetrics is absent; see make test-bridge",
    exc_type=ImportError,
)

WORDS = ("the", "The", "a", "an", "cat", "Cat", "cat's", "dog,", "dog", "5,000", "km²", "-", "é", "a-b", ".")
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
# Right answers of articles and points alone do not count in the script of SQuAD 2.0, which ours follows.
RIGHT = TEXT.filter(normalized)
QUESTION = st.tuples(st.lists(RIGHT, min_size=1, max_size=3), TEXT)


@given(st.lists(QUESTION, min_size=1, max_size=5))
def test_scores_are_those_of_torchmetrics(questions):
    answers = [[Answer(text, 0) for text in texts] for texts, _ in questions]
    ours = score_answers(answers, [predicted for _, predicted in questions]).values
    targets = [
        {"id": str(number), "answers": {"text": texts, "answer_start": [0] * len(texts)}}
        for number, (texts, _) in enumerate(questions)
    ]
    said = [
        {"id": str(number), "prediction_text": predicted} for number, (_, predicted) in enumerate(questions)
    ]
    theirs = torchmetrics.squad(said, targets)
    assert ours["exact_match"] * 100 == pytest.approx(float(theirs["exact_match"]), rel=1e-5)
    assert ours["f1"] * 100 == pytest.approx(float(theirs["f1"]), rel=1e-5)
