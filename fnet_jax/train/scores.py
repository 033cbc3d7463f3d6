"""Scores of a whole split: GLUE's metrics, by scikit-learn and SciPy, and what makes them no result."""

import dataclasses
import math
import warnings
from collections.abc import Callable

import numpy as np
import scipy.stats
import sklearn.metrics

from fnet_jax.data.tasks import Task

Metric = Callable[[np.ndarray, np.ndarray], float]


def _correlation(function: Callable[..., tuple[float, float]]) -> Metric:
    """A correlation of SciPy's; nan where one side is constant or there are fewer than two examples."""

    def metric(labels: np.ndarray, answers: np.ndarray) -> float:
        if len(labels) < 2 or np.ptp(labels) == 0 or np.ptp(answers) == 0:
            return math.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
            return float(function(labels.astype(np.float64), answers.astype(np.float64))[0])

    return metric


def _f1(average: str) -> Metric:
    """F1 of class 1, or the mean over the classes; a class that never occurs and is never answered has 0."""

    def metric(labels: np.ndarray, answers: np.ndarray) -> float:
        return float(sklearn.metrics.f1_score(labels, answers, average=average, zero_division=0))

    return metric


def _matthews(labels: np.ndarray, answers: np.ndarray) -> float:
    """0 where one side is constant."""
    if np.ptp(labels) == 0 or np.ptp(answers) == 0:
        return 0.0
    return float(sklearn.metrics.matthews_corrcoef(labels, answers))


def _accuracy(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(sklearn.metrics.accuracy_score(labels, answers))


# Name -> function of labels [N] and answers [N], class ids or numbers.
METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "f1": _f1("binary"),
    "macro_f1": _f1("macro"),
    "matthews": _matthews,
    "pearson": _correlation(scipy.stats.pearsonr),
    "spearman": _correlation(scipy.stats.spearmanr),
}


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of one split.

    Attributes:
        values: the task's metrics, `score`, `paper_score`; empty without labels.
        baseline: the same of the answer that is right most often; empty for regression.
        flaws: sentences on what makes the values no result.
    """

    values: dict[str, float]
    baseline: dict[str, float]
    flaws: tuple[str, ...]


def measure(name: str, labels: np.ndarray, answers: np.ndarray) -> float:
    """One metric of `METRICS`.

    Args:
        name: of the metric.
        labels: [N], class ids or numbers.
        answers: [N], the same of the model.

    Raises:
        ValueError: unless both are vectors of one length, at least 1.
    """
    labels, answers = np.asarray(labels), np.asarray(answers)
    if labels.ndim != 1 or labels.shape != answers.shape or not len(labels):
        raise ValueError(
            f"labels {labels.shape} and answers {answers.shape} must be vectors of one length, at least 1"
        )
    return METRICS[name](labels, answers)


def score(task: Task, labels: np.ndarray | None, logits_NC: np.ndarray, names: tuple[str, ...]) -> Scores:
    """All metrics of a task.

    Args:
        task: gives the metrics; `score` is the mean of `task.score`, `paper_score` that of
            `task.paper_score`.
        labels: [N]; None where the split has none, which is then not scored.
        logits_NC: of the model; for regression C = 1.
        names: of the classes, for the flaws.
    """
    if labels is None or not len(labels) or (not task.regression and np.all(labels < 0)):
        return Scores({}, {}, ("this split has no labels, so nothing is scored",))
    answers = answers_of(task, logits_NC)
    flaws = []
    if len(answers) > 1 and np.ptp(answers) == 0:
        what = f"{answers[0]:.3g}" if task.regression else repr(names[answers[0]])
        flaws.append(f"the model answers {what} for all {len(answers):,} examples; that is no result")
    baseline = {}
    if not task.regression:
        baseline = _all(task, labels, np.full_like(labels, np.bincount(labels).argmax()))
    return Scores(_all(task, labels, answers), baseline, tuple(flaws))


def answers_of(task: Task, logits_NC: np.ndarray) -> np.ndarray:
    """logits [N, C] -> class ids [N], or numbers [N] for regression."""
    return logits_NC[:, 0] if task.regression else logits_NC.argmax(-1)


def better(new: float, old: float) -> bool:
    """Whether a score is higher; nan is lower than every number."""
    return not math.isnan(new) and (math.isnan(old) or new > old)


def _all(task: Task, labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    values = {name: measure(name, labels, answers) for name in task.metrics}
    values["score"] = float(np.mean([values[name] for name in task.score]))
    values["paper_score"] = float(np.mean([values[name] for name in task.paper_score]))
    return values
