"""What evaluations during training decide: which state is the best, and whether to go on."""

import math
from collections.abc import Callable

from fnet_jax.tasks.metrics import Variables
from fnet_jax.train import perf
from fnet_jax.train.evaluate import Interrupted, evaluate_split
from fnet_jax.train.progress import Progress
from fnet_jax.train.setup import Setup
from fnet_jax.train.step import EvalStep


class BestTracker:
    """Evaluates states on the first split, keeps their scores where the config wants the best one kept.

    Attributes:
        best: step and score of the best state so far, the earliest of equals; None before there is one.
    """

    def __init__(
        self, setup: Setup, progress: Progress, stopwatch: perf.Stopwatch, best: tuple[int, float] | None
    ):
        self.best = best
        self._setup, self._progress, self._stopwatch = setup, progress, stopwatch
        self._last: tuple[int, float] | None = None  # step evaluated last, its score
        self._warnings: set[str] = set()  # those that were told

    def evaluate(
        self, eval_step: EvalStep, step: int, variables: Variables, stopped: Callable[[], int]
    ) -> bool:
        """Evaluates and writes what was found; false if a signal cut it short.

        Args:
            eval_step: compiled.
            step: of the state.
            variables: of the state.
            stopped: tells the number of the signal that has come, or 0.
        """
        with self._stopwatch.part("evaluate"):
            split = self._setup.dataset.eval_splits[0]
            try:
                found = evaluate_split(self._setup, eval_step, variables, split, stopped=stopped)
            except Interrupted:
                return False
            self._progress.evaluation(step, found.values)
            warnings = found.scores.warnings if found.scores else ()
            for warning in warnings:
                if warning not in self._warnings:
                    self._progress.say(f"note: {warning}")
            self._warnings.update(warnings)
            if self._setup.config.train.keep_best:
                self._last = (step, found.values["score"])
                if self.best is None or better(self._last[1], self.best[1]):
                    self.best = self._last
        return True

    def score(self, step: int) -> float | None:
        """Of the state of `step`, if that one was evaluated last and scores are kept."""
        return self._last[1] if self._last and self._last[0] == step else None

    def is_stale(self, step: int) -> bool:
        """Whether the score has not risen for `early_stop_evals` evaluations; see `early_stop_step`."""
        train = self._setup.config.train
        patience = train.early_stop_evals * train.eval_frequency
        return patience > 0 and self.best is not None and step - self.best[0] >= patience


def better(new: float, old: float) -> bool:
    """Whether a score is higher; nan is lower than every number."""
    return not math.isnan(new) and (math.isnan(old) or new > old)
