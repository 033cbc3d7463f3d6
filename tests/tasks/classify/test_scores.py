"""Metrics against their formulas and against the libraries; what is no result is said."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from fnet_jax.tasks.classify.scores import METRICS, metric, predictions_of, score
from fnet_jax.tasks.table import TASKS

# Those of words and spans are scored elsewhere: test_tags.py, test_answer_scores.py.
OF_CLASSES = {name: task for name, task in TASKS.items() if task.kind in ("classify", "choose")}


def f1_of(labels, predictions, positive):
    """2 TP / (2 TP + FP + FN), by counting."""
    pairs = list(zip(labels, predictions, strict=True))
    hits = sum(label == prediction == positive for label, prediction in pairs)
    misses = sum((label == positive) != (prediction == positive) for label, prediction in pairs)
    return 2 * hits / (2 * hits + misses) if hits + misses else 0.0


def macro_f1_of(labels, predictions):
    classes = {*labels.tolist(), *predictions.tolist()}
    return sum(f1_of(labels, predictions, positive) for positive in classes) / len(classes)


def matthews_of(labels, predictions):
    """Pearson's correlation of one-hot matrices (Gorodkin 2004, eq. 8); 0 where one side is constant."""
    classes = np.arange(max(labels.max(), predictions.max()) + 1)
    x, y = (np.float64(side[:, None] == classes) for side in (labels, predictions))
    x, y = x - x.mean(0), y - y.mean(0)
    norm = math.sqrt((x * x).sum() * (y * y).sum())
    return (x * y).sum() / norm if norm else 0.0


def pearson_of(x, y):
    x, y = np.float64(x), np.float64(y)
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt((x @ x) * (y @ y))
    return (x @ y) / norm if norm else math.nan


def ranks(values):
    """Mean rank of equal values: those below, and half of those beside."""
    below = (values[:, None] > values).sum(1)
    return below + ((values[:, None] == values).sum(1) + 1) / 2


FORMULAS = {
    "accuracy": lambda x, y: sum(a == b for a, b in zip(x, y, strict=True)) / len(x),
    "f1": lambda x, y: f1_of(x, y, 1),
    "macro_f1": macro_f1_of,
    "matthews": matthews_of,
    "pearson": pearson_of,
    "spearman": lambda x, y: pearson_of(ranks(x), ranks(y)),
}
LIBRARY = {
    "accuracy": sklearn.metrics.accuracy_score,
    "f1": sklearn.metrics.f1_score,
    "macro_f1": lambda x, y: sklearn.metrics.f1_score(x, y, average="macro"),
    "matthews": sklearn.metrics.matthews_corrcoef,
    "pearson": lambda x, y: scipy.stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
}
CORRELATIONS = ("pearson", "spearman")
CLASSIFICATION = tuple(name for name in METRICS if name not in CORRELATIONS)


def pairs(values):
    """Two vectors of one length of 1 to 40."""
    return st.integers(1, 40).flatmap(
        lambda n: st.tuples(*[st.lists(values, min_size=n, max_size=n).map(np.array)] * 2)
    )


@pytest.mark.parametrize("name", CLASSIFICATION)
@given(sides=st.integers(1, 5).flatmap(lambda c: pairs(st.integers(0, c - 1))))
@settings(max_examples=60, deadline=None)
def test_classes_by_the_formula(name, sides):
    """Also one class, one example, classes that never occur: none warns, all are defined."""
    assert metric(name, *sides) == pytest.approx(FORMULAS[name](*sides), abs=1e-9)


@pytest.mark.parametrize("name", CORRELATIONS)
@given(sides=pairs(st.integers(-20, 20).map(lambda value: value / 4)))
@settings(max_examples=60, deadline=None)
def test_numbers_by_the_formula(name, sides):
    """With many ties, which the grid of quarters makes likely."""
    assert metric(name, *sides) == pytest.approx(FORMULAS[name](*sides), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
def test_the_libraries_say_the_same(name):
    rng = np.random.default_rng(0)
    if name in CORRELATIONS:
        labels = rng.normal(size=500)
        predictions = labels + rng.normal(size=500)
    else:
        classes = 2 if name == "f1" else 4
        labels = rng.integers(0, classes, 500)
        predictions = np.where(rng.random(500) < 0.6, labels, rng.integers(0, classes, 500))
    assert metric(name, labels, predictions) == pytest.approx(LIBRARY[name](labels, predictions), abs=1e-9)
    assert 0.3 < metric(name, labels, predictions) < 0.9


def test_metrics_worked_by_hand():
    labels, predictions = np.array([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0])
    assert metric("accuracy", labels, predictions) == 0.6
    assert metric("f1", labels, predictions) == pytest.approx(4 / 6)
    assert metric("macro_f1", labels, predictions) == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert metric("matthews", labels, predictions) == pytest.approx((2 * 1 - 1 * 1) / 6)
    assert metric("spearman", np.array([1, 2, 3]), np.array([1, 100, 50])) == pytest.approx(0.5)


@pytest.mark.parametrize("name", METRICS)
def test_a_single_right_answer(name):
    """Accuracy is whole; a correlation is none."""
    for label in (0, 1):
        found = metric(name, np.array([label]), np.array([label]))
        expected = {"accuracy": 1.0, "f1": float(label), "macro_f1": 1.0, "matthews": 0.0}.get(name, math.nan)
        assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (4, 1)), ((4, 1), (4, 1)), ((4,), (3,)),
                                    ((0,), (0,)), ((), ())])  # fmt: skip
def test_only_vectors_of_one_length_have_a_score(name, shapes):
    """[N, 1] against [N] would be broadcast, and score something else."""
    with pytest.raises(ValueError, match="must be vectors of one length, at least 1"):
        metric(name, *(np.ones(shape, np.int32) for shape in shapes))


@pytest.mark.parametrize("name", CORRELATIONS)
def test_correlations_of_single_precision_are_taken_in_double(name):
    """Far from 0, single precision has few digits left: these numbers differ in the last one."""
    labels = np.array([0, 1, 2, 3, 4, 5], np.float32)
    predictions = np.float32(2**23) + np.array([0, 1, 3, 2, 5, 4], np.float32)
    assert metric(name, labels, predictions) == pytest.approx(1 - 6 * 4 / (6 * 35), abs=1e-9)


@pytest.mark.parametrize("name", CORRELATIONS)
def test_correlations_bear_whatever_a_model_gives(name):
    """The largest floats, nearly equal ones, nan."""
    labels, largest = np.array([1.0, 2.0, 3.0]), np.finfo(np.float32).max
    assert metric(name, labels, np.array([-largest, 0, largest], np.float32)) == pytest.approx(1)
    assert metric(name, labels, 1 + np.array([0, 1e-15, 2e-15])) > 0
    assert math.isnan(metric(name, labels, np.array([1, math.nan, 2])))
    assert math.isnan(metric(name, labels, np.array([1, math.inf, 2])))


def one_hot(ids, classes):
    return np.eye(classes, dtype=np.float32)[np.array(ids)]


def test_scores_of_a_task():
    task = TASKS["mrpc"]
    found = score(task, np.array([1, 1, 1, 0, 0]), one_hot([1, 1, 0, 1, 0], 2), task.labels)
    assert found.values == pytest.approx({"accuracy": 0.6, "f1": 4 / 6, "score": (0.6 + 4 / 6) / 2,
                                          "paper_score": (0.6 + 4 / 6) / 2})  # fmt: skip
    assert found.baseline == pytest.approx({"accuracy": 0.6, "f1": 6 / 8, "score": (0.6 + 6 / 8) / 2,
                                            "paper_score": (0.6 + 6 / 8) / 2})  # fmt: skip
    assert found.warnings == ()


def test_benchmark_and_paper_score_differ_where_they_should():
    labels, logits = np.array([1, 1, 1, 0, 0]), one_hot([1, 1, 0, 1, 0], 2)
    cola = score(TASKS["cola"], labels, logits, TASKS["cola"].labels).values
    assert (cola["score"], cola["paper_score"]) == (cola["matthews"], cola["accuracy"])
    numbers = np.array([[0.0], [1], [2], [9]], np.float32)
    stsb = score(TASKS["stsb"], np.array([0, 1, 2, 5], np.float32), numbers, ()).values
    assert stsb["paper_score"] == stsb["spearman"] == pytest.approx(1)
    assert stsb["score"] == pytest.approx((stsb["pearson"] + stsb["spearman"]) / 2) != stsb["spearman"]


@pytest.mark.parametrize("task", OF_CLASSES.values(), ids=OF_CLASSES.keys())
def test_every_task_is_scored(task):
    rng = np.random.default_rng(1)
    names = task.labels or ("first", "second", "third")
    labels = np.float32(rng.normal(size=50)) if task.regression else rng.integers(0, len(names), 50)
    logits = labels[:, None] * np.float32(1) if task.regression else one_hot(labels, len(names))
    found = score(task, labels, logits, names)
    assert found.values == pytest.approx(dict.fromkeys([*task.metrics, "score", "paper_score"], 1.0))
    assert (found.baseline == {}) == task.regression
    assert found.warnings == ()


def test_a_constant_answer_is_no_result():
    task = TASKS["mrpc"]
    labels = np.array([1] * 279 + [0] * 129)
    found = score(task, labels, one_hot([1] * 408, 2), task.labels)
    assert found.values == found.baseline
    assert found.values["accuracy"] == pytest.approx(0.684, abs=5e-4)
    assert found.values["f1"] == pytest.approx(0.812, abs=5e-4)
    assert found.warnings == ("the model predicts 'equivalent' for all 408 examples; that is no result",)


def test_a_constant_number_has_no_correlation():
    found = score(TASKS["stsb"], np.array([1, 2, 3], np.float32), np.full((3, 1), 2.5, np.float32), ())
    assert all(math.isnan(value) for value in found.values.values())
    assert found.warnings == ("the model predicts 2.5 for all 3 examples; that is no result",)


def test_constant_labels_are_no_ground_for_a_correlation():
    logits = np.array([[1.0], [2]], np.float32)
    found = score(TASKS["stsb"], np.array([3, 3], np.float32), logits, ())
    assert math.isnan(found.values["score"])
    assert found.warnings == ("a correlation cannot be told from 2 examples with one and the same label",)
    found = score(TASKS["cola"], np.array([1]), one_hot([1], 2), TASKS["cola"].labels)
    assert (found.values["matthews"], found.values["accuracy"]) == (0, 1)
    assert found.warnings == ("a correlation cannot be told from one example",)


def test_outputs_that_are_not_finite_are_said():
    logits = np.array([[0, 1], [math.nan, 0], [1, 0]], np.float32)
    found = score(TASKS["sst2"], np.array([1, 1, 0]), logits, TASKS["sst2"].labels)
    assert found.warnings == ("the model's outputs for 1 of 3 examples are not finite",)


@pytest.mark.parametrize(
    "labels", [None, np.full(3, -1), np.array([], np.int32)], ids=["None", "-1", "empty"]
)
def test_without_labels_nothing_is_scored(labels):
    found = score(TASKS["rte"], labels, one_hot([0, 1, 0], 2), TASKS["rte"].labels)
    assert (found.values, found.baseline) == ({}, {})
    assert found.warnings == ("this split has no labels, so nothing is scored",)


def test_minus_one_is_a_number_where_labels_are_numbers():
    logits = np.array([[1.0], [2]], np.float32)
    assert score(TASKS["regress"], np.array([-1, -1], np.float32), logits, ()).values


def test_what_does_not_fit_is_refused():
    rte, stsb = TASKS["rte"], TASKS["stsb"]
    with pytest.raises(ValueError, match="1 of 2 examples have no label"):
        score(rte, np.array([0, -1]), one_hot([0, 1], 2), rte.labels)
    with pytest.raises(ValueError, match=r"labels \(3,\) and predictions \(2,\)"):
        score(rte, np.array([0, 1, 1]), one_hot([0, 1], 2), rte.labels)
    with pytest.raises(ValueError, match=r"logits \(3, 2\) of stsb must be \[N, 1\]"):
        score(stsb, np.ones(3, np.float32), np.ones((3, 2), np.float32), ())
    with pytest.raises(ValueError, match=r"logits \(3,\) of stsb must be \[N, 1\]"):
        predictions_of(stsb, np.ones(3, np.float32))
