"""Scores of answers: exact match and F1 of SQuAD, by the definitions of its two papers.

Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1; 2018 (arXiv 1806.03822) for questions without answer.
"""

import collections
import re
import string
from collections.abc import Callable, Sequence

import numpy as np

from fnet_jax.tasks.answer.files import Answer
from fnet_jax.tasks.interface import Scores

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def score_answers(
    answers: Sequence[Sequence[Answer]], predicted: Sequence[str], warnings: tuple[str, ...] = ()
) -> Scores:
    """All metrics of question answering, as shares.

    Args:
        answers: of N questions, all that count as right; [] where there is no answer.
        predicted: N texts, "" for no answer.
        warnings: that are known already.

    Returns:
        `exact_match`, `f1`, and `score`, which is F1. Where some questions have no answer, the two
        also over the questions with one (`has_answer_exact_match`, `has_answer_f1`), `no_answer_accuracy`
        over the others; and the baseline is to answer none.
    """
    right = [_right(found) for found in answers]
    has_answer = np.array([texts != [""] for texts in right], bool)
    values = _values(right, predicted, has_answer)
    if len(set(predicted)) == 1 and len(predicted) > 1:
        warnings = (*warnings, f"the model answers {predicted[0]!r} to all {len(predicted):,} questions")
    baseline = _values(right, [""] * len(right), has_answer) if not has_answer.all() else {}
    return Scores(values, baseline, warnings)


def normalized(text: str) -> str:
    """Lower case; without punctuation, the articles a, an, the, and surplus white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, predicted: str) -> float:
    """1 if both are equal, normalised."""
    return float(normalized(answer) == normalized(predicted))


def token_f1(answer: str, predicted: str) -> float:
    """F1 of the words of the prediction, normalised; 1 if both have none, 0 if one has none."""
    words, guessed = normalized(answer).split(), normalized(predicted).split()
    if not words or not guessed:
        return float(words == guessed)
    common = sum((collections.Counter(words) & collections.Counter(guessed)).values())
    # 2PR / (P + R) with P = common / guessed, R = common / words
    return 2.0 * common / (len(words) + len(guessed))


def _right(answers: Sequence[Answer]) -> list[str]:
    """The texts that count as right; "" alone for no answer, also where normalising leaves nothing."""
    return [answer.text for answer in answers if normalized(answer.text)] or [""]


def _values(
    right: Sequence[Sequence[str]], predicted: Sequence[str], has_answer: np.ndarray
) -> dict[str, float]:
    def best(metric: Callable[[str, str], float]) -> np.ndarray:
        pairs = zip(right, predicted, strict=True)
        return np.array([max(metric(text, guess) for text in texts) for texts, guess in pairs])

    exact, f1 = best(exact_match), best(token_f1)
    values = {"exact_match": float(exact.mean()), "f1": float(f1.mean()), "score": float(f1.mean())}
    if has_answer.all():
        return values
    if has_answer.any():
        values |= {
            "has_answer_exact_match": float(exact[has_answer].mean()),
            "has_answer_f1": float(f1[has_answer].mean()),
        }
    return {**values, "no_answer_accuracy": float(exact[~has_answer].mean())}
