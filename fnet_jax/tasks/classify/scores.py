"""Scores of a whole split: GLUE's metrics, by scikit-learn and SciPy, and what makes them no result."""

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
import scipy.stats
import sklearn.metrics

from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.table import Task


def score(task: Task, labels: np.ndarray | None, logits_NC: np.ndarray, names: tuple[str, ...]) -> Scores:
    """All metrics of a task; `score` is the mean of `task.score`, `paper_score` that of `task.paper_score`.

    Args:
        task: of the split.
        labels: [N] class ids or numbers; None where the split has none, which is then not scored.
        logits_NC: of the model; for regression C = 1.
        names: of the classes, for the warnings.

    Raises:
        ValueError: if the shapes do not fit, or only some examples have a label.
    """
    if labels is None or not len(labels) or (not task.regression and np.all(labels < 0)):
        return Scores({}, {}, ("this split has no labels, so nothing is scored",))
    if not task.regression and np.any(labels < 0):
        raise ValueError(f"{np.sum(labels < 0)} of {len(labels)} examples have no label; leave them out")
    predictions = predictions_of(task, logits_NC)
    values = _all(task, labels, predictions)
    baseline = {}
    if not task.regression:
        majority = np.full_like(labels, np.bincount(labels).argmax())
        baseline = _all(task, labels, majority)
    return Scores(values, baseline, _warnings(task, labels, logits_NC, predictions, names))


def predictions_of(task: Task, logits_NC: np.ndarray) -> np.ndarray:
    """Class ids [N], or numbers [N] for regression.

    Raises:
        ValueError: unless the logits are a matrix, of one column for regression.
    """
    if logits_NC.ndim != 2 or (task.regression and logits_NC.shape[1] != 1):
        raise ValueError(
            f"logits {logits_NC.shape} of {task.name} must be [N, {1 if task.regression else 'C'}]"
        )
    return logits_NC[:, 0] if task.regression else logits_NC.argmax(-1)


def metric(name: str, labels: np.ndarray, predictions: np.ndarray) -> float:
    """One of `METRICS`.

    Args:
        name: of the metric.
        labels: [N] class ids or numbers.
        predictions: [N], the same of the model.

    Raises:
        ValueError: unless both are vectors of one length, at least 1; a column [N, 1] beside a vector [N]
            would be broadcast to a wrong score.
    """
    if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} must be vectors of one length, "
            "at least 1"
        )
    return float(METRICS[name](labels, predictions))


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Of class 1; 0 where it neither occurs nor is predicted."""
    return sklearn.metrics.f1_score(labels == 1, predictions == 1, zero_division=0)


def _macro_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Mean over the classes that occur or are predicted."""
    return sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0)


def _matthews(labels: np.ndarray, predictions: np.ndarray) -> float:
    """0 where one side is constant."""
    if _is_constant(labels) or _is_constant(predictions):
        return 0.0
    return sklearn.metrics.matthews_corrcoef(labels, predictions)


def _correlation(
    function: Callable[..., tuple[float, float]], labels: np.ndarray, predictions: np.ndarray
) -> float:
    """nan where one side is constant or not finite, and for a single example."""
    sides = labels.astype(np.float64), predictions.astype(np.float64)
    if not all(np.isfinite(side).all() and not _is_constant(side) for side in sides):
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.NearConstantInputWarning)
        return function(*sides)[0]


# Name -> function of labels [N] and predictions [N], class ids or numbers.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": sklearn.metrics.accuracy_score,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "matthews": _matthews,
    "pearson": functools.partial(_correlation, scipy.stats.pearsonr),
    "spearman": functools.partial(_correlation, scipy.stats.spearmanr),
}


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.all(values == values[0]))


def _all(task: Task, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    values = {name: metric(name, labels, predictions) for name in task.metrics}
    return {
        **values,
        "score": float(np.mean([values[name] for name in task.score])),
        "paper_score": float(np.mean([values[name] for name in task.paper_score])),
    }


def _warnings(
    task: Task, labels: np.ndarray, logits_NC: np.ndarray, predictions: np.ndarray, names: tuple[str, ...]
) -> tuple[str, ...]:
    warnings = []
    count = len(labels)
    broken = int(np.sum(~np.isfinite(logits_NC).all(-1)))
    if broken:
        warnings.append(f"the model's outputs for {broken:,} of {count:,} examples are not finite")
    if count > 1 and _is_constant(predictions):
        what = f"{predictions[0]:.3g}" if task.regression else repr(names[predictions[0]])
        warnings.append(f"the model predicts {what} for all {count:,} examples; that is no result")
    if _is_constant(labels) and {"matthews", "pearson", "spearman"} & set(task.metrics):
        what = "one example" if count == 1 else f"{count:,} examples with one and the same label"
        warnings.append(f"a correlation cannot be told from {what}")
    return tuple(warnings)
