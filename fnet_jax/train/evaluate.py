"""Evaluation: a state on a split, each example once; a checkpoint on all splits of its task."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.errors import MachineError, UserError, reason
from fnet_jax.runtime import hosts
from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.metrics import HostSums, Variables, compute, merge, to_host
from fnet_jax.tasks.table import TASKS
from fnet_jax.train.batches import eval_batches, host_eval_batches
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.checkpoints.find import find_checkpoint
from fnet_jax.train.setup import Setup, set_up
from fnet_jax.train.step import EvalStep


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Of one split.

    Attributes:
        examples: how many were counted.
        values: metrics; `loss`, and `score` where the task has one.
        scores: of the whole split; None where the means of sums say it all.
        outputs: per example, such as `logits` f32[N, C].
    """

    examples: int
    values: dict[str, float]
    scores: Scores | None
    outputs: dict[str, np.ndarray]


def evaluate(
    eval_step: EvalStep, variables: Variables, batches: Iterable[Batch]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Means over all batches, each example counted once, and the outputs of all rows.

    Batches are on the devices already; results are downloaded two batches late, so that the devices
    always have the next one.
    """
    total: HostSums = {}
    rows: dict[str, list[np.ndarray]] = {}
    pending: list[Any] = []

    def read() -> None:
        nonlocal total
        sums, outputs = pending.pop(0)
        total = merge(total, to_host(sums))
        for name, value in jax.device_get(dict(outputs)).items():
            rows.setdefault(name, []).append(value)

    for batch in batches:
        pending.append(eval_step(variables, batch))
        if len(pending) > 2:
            read()
    while pending:
        read()
    return compute(total), {name: np.concatenate(values) for name, values in rows.items()}


class Interrupted(Exception):
    """An evaluation was cut short by a stop signal."""


def evaluate_split(
    setup: Setup,
    eval_step: EvalStep,
    variables: Variables,
    split: str,
    stopped: Callable[[], int] = lambda: 0,
) -> Evaluation:
    """Evaluates on one split; call it under `jax.set_mesh(setup.mesh)`.

    Args:
        setup: gives the data.
        eval_step: of the run.
        variables: of the state.
        split: one of `setup.dataset`.
        stopped: asked before each batch whether to stop.

    Raises:
        Interrupted: if `stopped` said so.
        MachineError: if the input failed.
    """
    batches, count, examples = eval_batches(setup, split)
    running = _until_stopped(batches, stopped)
    with_bar = tqdm(running, f"evaluate {split}", count, leave=False, unit="batch", disable=None)
    values, outputs = evaluate(eval_step, variables, with_bar)
    values["loss"] = sum(values[name] for name in setup.objective.losses)
    outputs = {name: rows[:examples] for name, rows in outputs.items()}
    scores = setup.dataset.score(split, outputs)
    if scores is not None:  # without labels the sums compare with nothing
        values = {**values, **scores.values} if scores.values else {}
    return Evaluation(examples, values, scores, outputs)


def _until_stopped(batches: Iterator[Batch], stopped: Callable[[], int]) -> Iterator[Batch]:
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            if hosts.count() == 1 and stopped():  # Ctrl-C reaches the input processes too
                raise Interrupted from error
            raise MachineError(f"the input of the evaluation broke off ({reason(error)})") from error
        if batch is None:
            return
        if stopped():
            raise Interrupted
        yield batch


class CheckpointEvaluator:
    """Evaluates checkpoints of one run, read-only; set up and compiled once."""

    def __init__(self, config: Config, workdir: str):
        """Opens data and model.

        Args:
            config: model and data; its model must be the checkpoints'.
            workdir: folder of the run.

        Raises:
            UserError: whatever does not fit.
        """
        self._workdir = workdir
        self._setup = set_up(config, workdir, training=False)
        self._eval_step = self._setup.eval_step()

    def evaluate(
        self, step: int, splits: Sequence[str] = (), write_predictions: bool = False
    ) -> dict[str, Any]:
        """Evaluates one checkpoint.

        Args:
            step: of the checkpoint.
            splits: to evaluate; () for all validation splits of the task.
            write_predictions: leave what the model says of each example, as the task writes it.

        Returns:
            `step`, `task`, `examples`, the metrics, those of the baseline under `baseline_...`, `warnings`;
            of further splits the same under `SPLIT/...`.

        Raises:
            UserError: if the checkpoint does not fit, or there is no such split.
        """
        setup = self._setup
        splits = tuple(splits) or setup.dataset.eval_splits
        if not splits:
            raise UserError(
                f"task={setup.config.task!r} has no labelled split in its data; name one with --splits"
            )
        for split in splits:
            setup.dataset.num_examples(split)
        with Checkpointer(self._workdir, read_only=True) as checkpointer:
            variables = checkpointer.restore_variables(step, setup.abstract.variables)
        result: dict[str, Any] = {"step": step, "task": setup.config.task}
        if setup.dataset.not_whole is not None:
            result["not_whole"] = setup.dataset.not_whole
        for split in splits:
            with jax.set_mesh(setup.mesh):
                found = evaluate_split(setup, self._eval_step, variables, split)
            prefix = "" if split == splits[0] else f"{split}/"
            result |= {prefix + name: value for name, value in self._flat(split, found).items()}
            if write_predictions and hosts.is_primary():
                for line in setup.dataset.write_predictions(split, found.outputs, self._workdir, step):
                    print(line)
        return result

    def _flat(self, split: str, found: Evaluation) -> dict[str, Any]:
        setup, scores = self._setup, found.scores
        baseline = (
            scores.baseline if scores else setup.dataset.baseline(host_eval_batches(setup, split).batches)
        )
        flat: dict[str, Any] = {"split": split, "examples": found.examples, **found.values}
        flat |= {f"baseline_{name}": value for name, value in baseline.items()}
        if scores:
            flat["warnings"] = list(scores.warnings)
        return flat


def on_task(config: Config, task: str) -> Config:
    """The config of a labelled task, turned to the data of another one with the same labels.

    Raises:
        UserError: if there is no such task, or `config` is that of pretraining.
    """
    if config.is_pretraining or task not in TASKS:
        raise UserError(
            f"--tasks={task}: valid are {', '.join(TASKS)}, and the checkpoint must be of a labelled task"
        )
    return dataclasses.replace(config, task=task)


def evaluate_checkpoint(
    config: Config,
    workdir: str,
    step: int | None = None,
    splits: Sequence[str] = (),
    write_predictions: bool = False,
) -> dict[str, Any]:
    """Evaluates one checkpoint; see `CheckpointEvaluator.evaluate`. By default the best or the newest."""
    workdir, step = find_checkpoint(workdir, step)
    return CheckpointEvaluator(config, workdir).evaluate(step, splits, write_predictions)
