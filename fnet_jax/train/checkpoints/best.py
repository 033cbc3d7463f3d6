"""Scores of states: the file beside a checkpoint, the best one so far, whether they still rise."""

import json
import math
import os
from collections.abc import Mapping

from fnet_jax.core.config import TrainConfig

METRICS = "metrics"  # the item of a checkpoint, and its file
_NO_SCORE = -math.inf


class BestTracker:
    """Remembers the best score of a run. Does nothing unless `train.keep_best` is set.

    It starts from what the checkpoints tell. So they alone say whether early stopping has ended a run, and a
    resumed run ends where an uninterrupted one does.

    Attributes:
        best: step and score of the best state so far, the earliest of equals; None before there is one.
    """

    def __init__(self, train: TrainConfig, best: tuple[int, float] | None):
        """Starts from the best of the checkpoints, None if none has a score."""
        self.best = best
        self._keep_best = train.keep_best
        self._patience = train.early_stop_evals * train.eval_frequency
        self._last: tuple[int, float] | None = None  # step evaluated last, its score

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Takes note of the evaluation of a state."""
        if self._keep_best:
            self._last = (step, values["score"])
            if self.best is None or better(values["score"], self.best[1]):
                self.best = self._last

    def score(self, step: int) -> float | None:
        """Of the state of `step`, if that one was evaluated last."""
        return self._last[1] if self._last and self._last[0] == step else None

    def has_stopped_rising(self, step: int) -> bool:
        """Whether `early_stop_evals` evaluations up to `step` have not brought a better score."""
        return self._patience > 0 and self.best is not None and step - self.best[0] >= self._patience


def better(new: float, old: float) -> bool:
    """Whether a score is higher; nan is lower than every number."""
    return not math.isnan(new) and (math.isnan(old) or new > old)


def metrics_of(step: int, score: float) -> dict[str, float]:
    """What is saved beside the checkpoint of a state that was evaluated; nan becomes the lowest score."""
    return {"score": _NO_SCORE if math.isnan(score) else score, "step": step}


def rank(metrics: Mapping[str, float]) -> tuple[float, int]:
    """What makes one checkpoint better than another: the score, then age."""
    return metrics["score"], -int(metrics["step"])


def read_metrics(checkpoint: str) -> dict[str, float] | None:
    """What is saved beside a checkpoint: {} without a score, None if it cannot be read."""
    try:
        with open(os.path.join(checkpoint, METRICS, METRICS), encoding="utf-8") as file:
            metrics = json.load(file)
        return metrics if {"score", "step"} <= metrics.keys() else None
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError):
        return None


def add_metrics(checkpoint: str, metrics: Mapping[str, float]) -> None:
    """Adds the score to a checkpoint that was saved without; leaves one that is there."""
    place = os.path.join(checkpoint, METRICS)
    if os.path.exists(place):
        return
    os.makedirs(place + ".tmp", exist_ok=True)
    with open(os.path.join(place + ".tmp", METRICS), "w", encoding="utf-8") as file:
        json.dump(metrics, file)
    os.rename(place + ".tmp", place)
