"""The picture of a run: which curves it has for pretraining and for a task."""

import json

import pytest

from fnet_jax.tools import report


def drawn(folder, monkeypatch, rows, results):
    """The labels of the curves of losses and of scores."""
    for name, values in (("metrics.jsonl", rows), ("eval.jsonl", results)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in values))
    figures = []
    monkeypatch.setattr(report.plt, "close", figures.append)
    assert (folder / "loss.png").samefile(report.draw(str(folder)))
    (figure,) = figures
    return [[line.get_label() for line in axes.lines] for axes in figure.axes]


def test_pretraining(tmp_path, monkeypatch):
    metrics = {"masked_lm_loss": 5.0, "masked_lm_accuracy": 0.2, "mask_token_loss": 6.0}
    rows = [{"step": step, "split": split, **metrics} for step in (1, 2) for split in ("train", "eval")]
    results = [{"step": 2, "baseline_masked_lm_loss": 6.3, "baseline_masked_lm_accuracy": 0.1}]
    losses, scores = drawn(tmp_path, monkeypatch, rows, results)
    assert losses == [f"masked LM loss (nats), {name}" for name in ("training", "held out", "baseline")]
    assert scores == [f"masked LM accuracy, {name}" for name in ("training", "held out", "baseline")]


def test_a_task(tmp_path, monkeypatch):
    train = {"step": 1, "split": "train", "cross_entropy": 1.5, "accuracy": 0.3}
    found = {"cross_entropy": 1.0, "accuracy": 0.5, "f1": None, "matthews": -0.2}  # None: not defined
    rows = [train, {"step": 1, "split": "eval", **found}]
    losses, scores = drawn(tmp_path, monkeypatch, rows, [{"step": 1, "baseline_f1": None}])
    assert losses == ["loss (nats), training", "loss (nats), held out"]
    assert scores == ["accuracy, training", "accuracy, held out", "Matthews correlation, held out"]


def test_a_run_that_has_only_begun(tmp_path, monkeypatch):
    rows = [{"step": 1, "split": "data", "documents": 3}]
    assert drawn(tmp_path, monkeypatch, rows, []) == [[], []]


def test_nothing_to_draw(tmp_path):
    with pytest.raises(report.UserError, match=r"no metrics\.jsonl; train there first"):
        report.draw(str(tmp_path))
