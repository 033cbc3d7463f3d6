"""From the runs of a GLUE job to one table: which setting counts, medians over seeds, averages."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from fnet_jax.core.sweep import Overrides, format_value
from fnet_jax.tasks.table import TASKS, Task
from fnet_jax.tools.markdown import NONE, markdown, show_value
from fnet_jax.tools.sweep.point import Result

LEARNING_RATE = "optim.learning_rate"
BATCH_SIZE = "train.train_batch_size"
COUNTED = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")  # in averages: no WNLI, no AX
COLUMNS = len(COUNTED) + 1  # of the paper's table: MNLI has two
HALVES = {"validation_matched": "MNLI-m", "validation_mismatched": "MNLI-mm"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The runs of one task that differ in the seed alone.

    Attributes:
        learning_rate: of the runs.
        batch_size: of the runs.
        runs: that count: done, with a score, without a warning.
        warnings: sentences on the runs that are no result, each once.
        expected: how many runs there should be.
    """

    learning_rate: float
    batch_size: int
    runs: tuple[Result, ...]
    warnings: tuple[str, ...]
    expected: int

    @property
    def scores(self) -> list[float]:
        """Of the runs that count."""
        return [run.values["score"] for run in self.runs]

    @property
    def best(self) -> Result:
        """The run with the best score, the first of equals."""
        return max(self.runs, key=lambda run: run.values["score"])


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; all scores are shares of 1.

    Attributes:
        title: of the task, or of one half of MNLI.
        task: its row of `tasks.TASKS`.
        scores: of the runs that count.
        metrics: medians by name.
        paper_score: median.
        majority: score of the answer that is right most often; None where there is no such answer.
        setting: that was chosen.
        examples: of the validation split that were used.
        not_whole: the splits behind the numbers that are not the official ones.
    """

    title: str
    task: Task
    scores: tuple[float, ...]
    metrics: dict[str, float]
    paper_score: float | None
    majority: float | None
    setting: Setting
    examples: int
    not_whole: tuple[str, ...]

    @property
    def score(self) -> float | None:
        """The median over the runs; None if none counts."""
        return statistics.median(self.scores) if self.scores else None


def settings_of(pairs: Iterable[tuple[Overrides, Result | None]], batch_size: int) -> list[Setting]:
    """Groups the runs of one task by all but the seed.

    Args:
        pairs: overrides of each point, and its result if it has one.
        batch_size: where the overrides do not say.
    """
    groups: dict[tuple[float, int], list[Result | None]] = {}
    for overrides, result in pairs:
        key = (overrides[LEARNING_RATE], overrides.get(BATCH_SIZE, batch_size))
        groups.setdefault(key, []).append(result)
    return [_setting(*key, results) for key, results in groups.items()]


def _setting(learning_rate: float, batch_size: int, results: Sequence[Result | None]) -> Setting:
    done = [result for result in results if result and result.is_done]
    warnings = list(dict.fromkeys(warning for result in done for warning in _warnings(result)))
    runs = tuple(result for result in done if not _warnings(result))
    return Setting(learning_rate, batch_size, runs, tuple(warnings), len(results))


def _warnings(result: Result) -> list[str]:
    """What makes a run no result, on any of its splits."""
    found = [
        warning for name, value in result.values.items() if name.endswith("warnings") for warning in value
    ]
    return found or ([] if result.values.get("score") is not None else ["the score is no number"])


def choose(settings: Sequence[Setting]) -> Setting | None:
    """The setting with the best median score, among those with the most runs that count.

    The median of fewer runs is another thing: a setting whose other runs failed must not win by luck.
    """
    most = max((len(setting.runs) for setting in settings), default=0)
    if most == 0:
        return next(iter(settings), None)
    complete = [setting for setting in settings if len(setting.runs) == most]
    return max(complete, key=lambda setting: statistics.median(setting.scores))


def rows_of(task: Task, setting: Setting) -> list[Row]:
    """The lines of a task: one, or one for each half of MNLI."""
    if not setting.runs:
        return [Row(task.title, task, (), {}, None, None, setting, 0, ())]
    first = setting.runs[0].values
    prefixes = ["", *(name.removesuffix("split") for name in first if name.endswith("/split"))]
    return [_row(task, setting, prefix) for prefix in prefixes]


def _row(task: Task, setting: Setting, prefix: str) -> Row:
    first = setting.runs[0].values
    split = first[f"{prefix}split"]

    def all_of(name: str) -> tuple[float, ...]:
        found = (run.values.get(prefix + name) for run in setting.runs)
        return tuple(value for value in found if value is not None)

    def median(name: str) -> float | None:
        return statistics.median(all_of(name)) if all_of(name) else None

    return Row(
        title=HALVES.get(split, task.title),
        task=task,
        scores=all_of("score"),
        metrics={name: value for name in task.metrics if (value := median(name)) is not None},
        paper_score=median("paper_score"),
        majority=first.get(f"{prefix}baseline_score"),
        setting=setting,
        examples=first[f"{prefix}examples"],
        not_whole=tuple(name for name in first.get("not_whole", ()) if name in ("train", split)),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown, with its footnotes."""
    header = [
        "task", "score", "max", "spread", "metrics", "paper", "majority",
        "learning rate", "batch", "runs", "examples",
    ]  # fmt: skip
    lines = [markdown(header, [_cells(row) for row in rows]), ""]
    lines += [f"score: the median over the runs, in hundredths; {SCORE_IS}"]
    lines += ["paper: the score as the FNet paper defines it; majority: the score of one answer for all"]
    partial = [f"{row.title} ({' and '.join(row.not_whole)})" for row in rows if row.not_whole]
    if partial:
        lines.append(
            f"* not the whole official split, so the figure compares with no table: {', '.join(partial)}"
        )
    for row in rows:
        setting = row.setting
        if setting.warnings and row.title != HALVES["validation_mismatched"]:
            left_out = f"{setting.expected - len(setting.runs)} of {setting.expected} runs left out"
            lines.append(f"† {row.title}: {left_out}: {'; '.join(setting.warnings)}")
    return "\n".join(lines)


SCORE_IS = (
    "Matthews for CoLA, the mean of accuracy and F1 for MRPC and QQP, "
    "the mean of Pearson and Spearman for STS-B, accuracy for the rest"
)


def _cells(row: Row) -> list[str]:
    setting = row.setting
    mark = ("*" if row.not_whole else "") + ("†" if setting.warnings else "")
    has_runs = bool(row.scores)
    whole_count = len(row.scores) == setting.expected
    return [
        row.title + mark,
        show_value("score", row.score),
        show_value("score", max(row.scores)) if has_runs else NONE,
        show_value("score", max(row.scores) - min(row.scores)) if has_runs else NONE,
        ", ".join(f"{name} {show_value(name, value)}" for name, value in row.metrics.items()) or NONE,
        show_value("score", row.paper_score),
        show_value("score", row.majority),
        format_value(setting.learning_rate) if has_runs else NONE,
        str(setting.batch_size) if has_runs else NONE,
        str(setting.expected) if whole_count else f"{len(row.scores)} of {setting.expected}",
        f"{row.examples:,}" if has_runs else NONE,
    ]


def all_settings(grid: dict[str, list[Setting]]) -> str:
    """Markdown: a line per task and setting, chosen or not."""
    rows = []
    for name, settings in grid.items():
        for setting in settings:
            scores = setting.scores
            rows.append([
                TASKS[name].title,
                format_value(setting.learning_rate),
                str(setting.batch_size),
                show_value("score", statistics.median(scores)) if scores else NONE,
                show_value("score", max(scores)) if scores else NONE,
                show_value("score", max(scores) - min(scores)) if scores else NONE,
                f"{len(scores)} of {setting.expected}",
            ])  # fmt: skip
    return markdown(["task", "learning rate", "batch", "score", "max", "spread", "runs"], rows)


@dataclasses.dataclass(frozen=True)
class Average:
    """A mean over tasks, and what it is a mean of.

    Attributes:
        value: share of 1; None if there is nothing to average.
        of: titles of what is averaged.
        total: how many these would be in a complete table.
        text: the definition, in words.
    """

    value: float | None
    of: tuple[str, ...]
    total: int
    text: str

    def __str__(self) -> str:
        """A line for a person."""
        count = f"{len(self.of)} of {self.total}" if len(self.of) < self.total else f"all {self.total}"
        return f"{show_value('score', self.value)}, of {count} {self.text}"


def glue_average(rows: Sequence[Row]) -> Average:
    """The benchmark's: every task counts once."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.task.name in COUNTED and row.score is not None:
            values.setdefault(row.task.name, []).append(row.score)
    titles = tuple(TASKS[name].title for name in values)
    halves = [row.title for row in rows if row.task.name == "mnli" and row.score is not None]
    mnli = "MNLI counts once, as the mean of matched and mismatched"
    if len(halves) == 1:
        mnli = f"MNLI counts as {halves[0]} alone, the other half is not there"
    text = f"tasks ({', '.join(titles) or 'none'}): {mnli}; WNLI and AX are left out"
    return Average(_mean([_mean(found) for found in values.values()]), titles, len(COUNTED), text)


def paper_average(rows: Sequence[Row]) -> Average:
    """The FNet paper's: every column of its table 2 counts once, so MNLI counts twice."""
    found = {row.title: row.paper_score for row in rows if row.task.name in COUNTED}
    values = {title: value for title, value in found.items() if value is not None}
    text = (
        f"columns ({', '.join(values) or 'none'}) as in the FNet paper: MNLI-m and MNLI-mm count one each, "
        "CoLA is accuracy, STS-B is Spearman"
    )
    return Average(_mean(list(values.values())), tuple(values), COLUMNS, text)


def _mean(values: Sequence[Any]) -> float | None:
    return statistics.fmean(values) if values else None


def to_json(row: Row) -> dict[str, Any]:
    """A line of the table as plain values."""
    has_runs = bool(row.scores)
    return {
        "title": row.title,
        "task": row.task.name,
        "score": row.score,
        "max": max(row.scores) if has_runs else None,
        "spread": max(row.scores) - min(row.scores) if has_runs else None,
        "scores": list(row.scores),
        "metrics": row.metrics,
        "paper_score": row.paper_score,
        "majority": row.majority,
        "learning_rate": row.setting.learning_rate if has_runs else None,
        "batch_size": row.setting.batch_size if has_runs else None,
        "seed": row.setting.best.overrides.get("seed") if has_runs else None,
        "step": row.setting.best.values.get("step") if has_runs else None,
        "runs": len(row.scores),
        "runs_expected": row.setting.expected,
        "examples": row.examples,
        "not_whole": list(row.not_whole),
        "warnings": list(row.setting.warnings),
    }
