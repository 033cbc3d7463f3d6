"""The runs of a GLUE job: which there are, in which order, what they predict."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from fnet_jax.core import sweep
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS
from fnet_jax.tools.glue.submission import TITLES, write_submission
from fnet_jax.tools.glue.table import (
    BATCH_SIZE,
    LEARNING_RATE,
    GlueRow,
    SeedGroup,
    choose,
    group_by_setting,
    rows_of,
)
from fnet_jax.tools.sweep.point import PointResult, SweepPoint, make_point, predictions_file
from fnet_jax.tools.sweep.results import SEED
from fnet_jax.tools.sweep.run import predict_with, run_points
from fnet_jax.train.concrete import make_config

TASK, INIT_FROM, DATA_DIR, EPOCHS = "task", "init_from", "data.dir", "train.num_train_epochs"


@dataclasses.dataclass(frozen=True)
class GlueOptions:
    """What the flags of a GLUE job ask for.

    Attributes:
        config_file: defines `get_config`, which takes `task=NAME`.
        config_arg: further arguments for it.
        overrides: dotted keys set by hand, and their values.
        workdir: of the job.
        init_from: pretrained model; "" starts from random parameters.
        data_dir: folder of GLUE's files; "" where the config says otherwise.
        tasks: names, without AX.
        from_mnli: those that start from the best run of MNLI.
        learning_rates: to choose from.
        batch_sizes: to choose from; [] for the config's.
        seeds: number of runs of each setting.
        epochs: of each run; None for the config's.
    """

    config_file: str
    config_arg: str
    overrides: Mapping[str, Any]
    workdir: str
    init_from: str
    data_dir: str
    tasks: tuple[str, ...]
    from_mnli: tuple[str, ...]
    learning_rates: list[float]
    batch_sizes: list[int]
    seeds: int
    epochs: float | None


class GlueJob:
    """All runs of a job; runs those that are not done, and knows what came out.

    Attributes:
        options: what is asked for.
        skipped: by title of a task that cannot be run, why.
        points: of each task that can; tasks that start from MNLI have none before MNLI is done.
    """

    def __init__(self, options: GlueOptions):
        """Looks which tasks have data, and makes their points.

        Raises:
            UserError: if no task has data, or a config cannot work.
        """
        self.options = options
        self.skipped: dict[str, str] = {}
        self._splits: dict[str, set[str]] = {}
        self._get_config = sweep.load_module(options.config_file).get_config
        self._common: dict[str, Any] = {DATA_DIR: options.data_dir} if options.data_dir else {}
        self._common |= {EPOCHS: options.epochs} if options.epochs is not None else {}
        own_keys = {TASK, SEED, LEARNING_RATE, INIT_FROM, *self._common}
        own_keys |= {BATCH_SIZE} if options.batch_sizes else set()
        for key in own_keys & options.overrides.keys():
            raise UserError(f"--config.{key} is what a flag of this tool sets; see --help and leave it out")
        for task in options.tasks:
            self._look_for_data(task)
        for title, why in self.skipped.items():
            print(f"{title} is skipped: {why}")
        if not self._splits:
            raise UserError(
                f"--data_dir={options.data_dir} has the data of none of {', '.join(options.tasks)}"
            )
        self.points = {
            task: self._make_points(task, options.init_from)
            for task in options.tasks
            if task in self._splits and task not in options.from_mnli
        }

    def run(self) -> None:
        """Runs all points that are not done.

        Raises:
            SystemExit: by Ctrl-C or SIGTERM.
        """
        run_points([point for points in self.points.values() for point in points])
        later = [task for task in self.options.from_mnli if task in self._splits]
        if not later:
            return
        start, why_not = self._best_of_mnli()
        if why_not:
            self.skipped |= {TASKS[task].title: why_not for task in later}
            return
        print(f"{', '.join(TASKS[task].title for task in later)} from MNLI: {start}")
        self.points |= {task: self._make_points(task, start) for task in later}
        run_points([point for task in later for point in self.points[task]])

    def results(self) -> list[tuple[SweepPoint, PointResult | None]]:
        """Every point with its result."""
        return [(point, point.result()) for points in self.points.values() for point in points]

    def groups(self) -> dict[str, list[SeedGroup]]:
        """The settings of each task with their runs."""
        return {
            task: group_by_setting(
                [(point.overrides, point.result()) for point in points],
                points[0].config.train.train_batch_size,
            )
            for task, points in self.points.items()
        }

    def rows(self) -> list[GlueRow]:
        """The table, in the order of the tasks that were asked for."""
        groups = self.groups()
        chosen = {task: choose(groups[task]) for task in self.options.tasks if task in groups}
        return [row for task, group in chosen.items() if group for row in rows_of(TASKS[task], group)]

    def chosen(self, task: str) -> SweepPoint | None:
        """The run that stands for a task: the best seed of the setting with the best median."""
        group = choose(self.groups()[task]) if task in self.points else None
        if group is None or not group.runs:
            return None
        return next(point for point in self.points[task] if point.overrides == group.best.overrides)

    def predict(self) -> list[str]:
        """Lets the chosen runs predict the test splits that are there; returns what went wrong."""
        faults = []
        for run, task, splits in self._test_splits():
            files = {split: predictions_file(run.directory, task, split) for split in splits}
            todo = [split for split, file in files.items() if not os.path.exists(file)]
            if todo:
                print(f"{TASKS[task].title}: predicting {', '.join(todo)}", flush=True)
                fault = predict_with(run, task, todo)
                faults += [f"{TASKS[task].title} could not be predicted: {fault}"] if fault else []
        return faults

    def write_submission(self, path: str) -> list[str]:
        """Writes the zip of what is predicted; returns a sentence on each file that is not."""
        found: dict[str, list[Any]] = {}
        warnings = []
        for run, task, splits in self._test_splits():
            for split in splits:
                file = predictions_file(run.directory, task, split)
                if not os.path.exists(file):
                    continue
                answers = [row["prediction"] for row in predictions.read(file)]
                official = TASKS[task].rows[split]
                if len(answers) == official:
                    found[TITLES[task, split]] = answers
                else:
                    warnings.append(
                        f"{TASKS[task].title} {split} has {len(answers):,} examples here, "
                        f"not the official {official:,}; left out"
                    )
        return [*warnings, *write_submission(path, found)]

    def _test_splits(self) -> list[tuple[SweepPoint, str, list[str]]]:
        """The run that predicts, the task and its test splits that are there; MNLI's predicts AX too."""
        found = []
        for task in self.points:
            run = self.chosen(task)
            for other in (task, "ax") if task == "mnli" else (task,):
                splits = [name for name in TASKS[other].test_splits if name in self._splits.get(other, ())]
                if run and splits:
                    found.append((run, other, splits))
        return found

    def _best_of_mnli(self) -> tuple[str, str]:
        """The checkpoint of the run that stands for MNLI, and ""; or "", and why there is none yet."""
        points = self.points.get("mnli")
        if not points:
            return "", "it starts from MNLI, which has no data"
        if not all(point.done_result() for point in points):
            return "", "it starts from MNLI, whose runs are not all done; the same command goes on"
        run = self.chosen("mnli")
        result = run and run.result()
        if not run or not result:
            return "", "it starts from MNLI, none of whose runs is a result"
        return os.path.join(run.directory, CHECKPOINT_DIR, str(result.values["step"])), ""

    def _look_for_data(self, task: str) -> None:
        """Notes the splits of a task, or why it cannot be run; with MNLI also those of AX."""
        data = make_config(self._config_dict(task, self.options.init_from)).data
        try:
            found = open_labelled(task, data, 0)
        except UserError as error:
            if data.dir and os.path.isdir(os.path.join(data.dir, TASKS[task].title)):
                raise
            self.skipped[TASKS[task].title] = str(error)
            return
        lacking = [name for name in ("train", *found.task.validation_splits[:1]) if name not in found.splits]
        if lacking:
            self.skipped[found.task.title] = "; ".join(found.missing.get(name, name) for name in lacking)
            return
        self._splits[task] = set(found.splits)
        if task == "mnli":
            try:
                self._splits["ax"] = set(open_labelled("ax", data, 0).splits)
            except UserError:
                self._splits.pop("ax", None)

    def _config_dict(self, task: str, init_from: str) -> Any:
        """The config of a task with what is common to all its runs."""
        arg = ",".join(filter(None, [f"task={task}", self.options.config_arg]))
        config = self._get_config(arg)
        config.update_from_flattened_dict({**self.options.overrides, **self._common, INIT_FROM: init_from})
        return config

    def _make_points(self, task: str, init_from: str) -> list[SweepPoint]:
        options = self.options
        grid = [sweep.values(LEARNING_RATE, options.learning_rates)]
        if options.batch_sizes:
            grid.append(sweep.values(BATCH_SIZE, options.batch_sizes))
        grid.append(sweep.values(SEED, range(options.seeds)))
        folder = os.path.join(options.workdir, f"{task}-from-mnli" if task in options.from_mnli else task)
        config = self._config_dict(task, init_from)
        fixed = [*options.overrides, *self._common.keys() - {DATA_DIR}]
        return [
            make_point(config, fixed, {TASK: task, **point}, os.path.join(folder, sweep.point_name(point)))
            for point in sweep.product(*grid)
        ]
