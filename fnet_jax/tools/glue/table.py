"""From the runs of a GLUE job to one table: which setting counts, medians over seeds, averages."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fnet_jax.core.sweep import Overrides, format_value
from fnet_jax.tasks.table import TASKS, Task
from fnet_jax.tools.markdown import NONE, markdown, show_value
from fnet_jax.tools.sweep.point import PointResult

LEARNING_RATE = "optim.learning_rate"
BATCH_SIZE = "train.train_batch_size"
COUNTED = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")  # in averages: no WNLI, no AX
COLUMNS = len(COUNTED) + 1  # of the paper's table: MNLI has two
HALVES = {"validation_matched": "MNLI-m", "validation_mismatched": "MNLI-mm"}


@dataclasses.dataclass(frozen=True)
class SeedGroup:
    """The runs of one task and one setting, which differ in the seed alone.

    Attributes:
        learning_rate: of the runs.
        batch_size: of the runs.
        runs: that count: done, with a score, without a warning.
        warnings: sentences on the runs that are no result, each once.
        expected: how many runs there should be.
    """

    learning_rate: float
    batch_size: int
    runs: tuple[PointResult, ...]
    warnings: tuple[str, ...]
    expected: int

    @property
    def scores(self) -> list[float]:
        """Of the runs that count."""
        return [run.values["score"] for run in self.runs]

    @property
    def best(self) -> PointResult:
        """The run with the best score, the first of equals."""
        return max(self.runs, key=lambda run: run.values["score"])


@dataclasses.dataclass(frozen=True)
class GlueRow:
    """One line of the table and of results.json, of a task or of one half of MNLI.

    All scores are shares of 1; what has no value, for want of runs that count, is None.

    Attributes:
        title: of the task, or of the half of MNLI.
        task: its name.
        score: median over the runs that count.
        max: best of them.
        spread: best minus worst.
        scores: of each of them.
        metrics: medians by name.
        paper_score: median of the score as the FNet paper defines it.
        majority: score of the answer that is right most often; None where there is no such answer.
        learning_rate: that was chosen.
        batch_size: that was chosen.
        seed: of the best run.
        step: of the best run's checkpoint.
        runs: number of runs that count.
        runs_expected: how many there should be.
        examples: of the validation split that were used.
        not_whole: the splits behind the numbers that are not the official ones.
        warnings: sentences on the runs that are no result, each once.
    """

    title: str
    task: str
    score: float | None
    max: float | None
    spread: float | None
    scores: list[float]
    metrics: dict[str, float]
    paper_score: float | None
    majority: float | None
    learning_rate: float | None
    batch_size: int | None
    seed: int | None
    step: int | None
    runs: int
    runs_expected: int
    examples: int
    not_whole: list[str]
    warnings: list[str]


def group_by_setting(
    pairs: Iterable[tuple[Overrides, PointResult | None]], batch_size: int
) -> list[SeedGroup]:
    """Groups the runs of one task by all but the seed.

    Args:
        pairs: overrides of each point, and its result if it has one.
        batch_size: where the overrides do not say.
    """
    groups: dict[tuple[float, int], list[PointResult | None]] = {}
    for overrides, result in pairs:
        key = (overrides[LEARNING_RATE], overrides.get(BATCH_SIZE, batch_size))
        groups.setdefault(key, []).append(result)
    return [_seed_group(*key, results) for key, results in groups.items()]


def _seed_group(learning_rate: float, batch_size: int, results: Sequence[PointResult | None]) -> SeedGroup:
    done = [result for result in results if result and result.is_done]
    warnings = list(dict.fromkeys(warning for result in done for warning in _warnings(result)))
    runs = tuple(result for result in done if not _warnings(result))
    return SeedGroup(learning_rate, batch_size, runs, tuple(warnings), len(results))


def _warnings(result: PointResult) -> list[str]:
    """What makes a run no result, on any of its splits."""
    names = [name for name in result.values if name.endswith(("warnings", "flaws"))]  # flaws: in older files
    found = [warning for name in names for warning in result.values[name]]
    return found or ([] if result.values.get("score") is not None else ["the score is no number"])


def choose(groups: Sequence[SeedGroup]) -> SeedGroup | None:
    """The setting with the best median score, among those with the most runs that count.

    The median of fewer runs is another thing: a setting whose other runs failed must not win by luck.
    """
    most = max((len(group.runs) for group in groups), default=0)
    if most == 0:
        return next(iter(groups), None)
    complete = [group for group in groups if len(group.runs) == most]
    return max(complete, key=lambda group: statistics.median(group.scores))


def rows_of(task: Task, group: SeedGroup) -> list[GlueRow]:
    """The lines of a task: one, or one for each half of MNLI."""
    names = group.runs[0].values if group.runs else ()
    halves = [name.removesuffix("split") for name in names if name.endswith("/split")]
    return [_row(task, group, prefix) for prefix in ("", *halves)]


def _row(task: Task, group: SeedGroup, prefix: str) -> GlueRow:
    """The line made of the values whose names begin with `prefix`."""
    first = group.runs[0].values if group.runs else {}
    split = first.get(f"{prefix}split", "")

    def all_of(name: str) -> list[float]:
        found = (run.values.get(prefix + name) for run in group.runs)
        return [value for value in found if value is not None]

    scores = all_of("score")
    return GlueRow(
        title=HALVES.get(split, task.title),
        task=task.name,
        score=_median(scores),
        max=max(scores, default=None),
        spread=_spread(scores),
        scores=scores,
        metrics={name: statistics.median(all_of(name)) for name in task.metrics if all_of(name)},
        paper_score=_median(all_of("paper_score")),
        majority=first.get(f"{prefix}baseline_score"),
        learning_rate=group.learning_rate if scores else None,
        batch_size=group.batch_size if scores else None,
        seed=group.best.overrides.get("seed") if scores else None,
        step=group.best.values.get("step") if scores else None,
        runs=len(scores),
        runs_expected=group.expected,
        examples=first.get(f"{prefix}examples", 0),
        not_whole=[name for name in first.get("not_whole", ()) if name in ("train", split)],
        warnings=list(group.warnings),
    )


def _median(scores: Sequence[float]) -> float | None:
    return statistics.median(scores) if scores else None


def _spread(scores: Sequence[float]) -> float | None:
    return max(scores) - min(scores) if scores else None


def table(rows: Sequence[GlueRow]) -> str:
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
        if row.warnings and row.title != HALVES["validation_mismatched"]:
            left_out = f"{row.runs_expected - row.runs} of {row.runs_expected} runs left out"
            lines.append(f"† {row.title}: {left_out}: {'; '.join(row.warnings)}")
    return "\n".join(lines)


SCORE_IS = (
    "Matthews for CoLA, the mean of accuracy and F1 for MRPC and QQP, "
    "the mean of Pearson and Spearman for STS-B, accuracy for the rest"
)


def _cells(row: GlueRow) -> list[str]:
    return [
        row.title + ("*" if row.not_whole else "") + ("†" if row.warnings else ""),
        *(show_value("score", value) for value in (row.score, row.max, row.spread)),
        ", ".join(f"{name} {show_value(name, value)}" for name, value in row.metrics.items()) or NONE,
        show_value("score", row.paper_score),
        show_value("score", row.majority),
        format_value(row.learning_rate) if row.runs else NONE,
        str(row.batch_size) if row.runs else NONE,
        str(row.runs) if row.runs == row.runs_expected else f"{row.runs} of {row.runs_expected}",
        f"{row.examples:,}" if row.runs else NONE,
    ]


def all_settings(groups: Mapping[str, Sequence[SeedGroup]]) -> str:
    """Markdown: a line per task and setting, chosen or not."""
    rows = []
    for name, settings in groups.items():
        for group in settings:
            scores = group.scores
            figures = (_median(scores), max(scores, default=None), _spread(scores))
            rows.append([
                TASKS[name].title,
                format_value(group.learning_rate),
                str(group.batch_size),
                *(show_value("score", figure) for figure in figures),
                f"{len(scores)} of {group.expected}",
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


def glue_average(rows: Sequence[GlueRow]) -> Average:
    """The benchmark's: every task counts once."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.task in COUNTED and row.score is not None:
            values.setdefault(row.task, []).append(row.score)
    titles = tuple(TASKS[name].title for name in values)
    halves = [row.title for row in rows if row.task == "mnli" and row.score is not None]
    mnli = "MNLI counts once, as the mean of matched and mismatched"
    if len(halves) == 1:
        mnli = f"MNLI counts as {halves[0]} alone, the other half is not there"
    text = f"tasks ({', '.join(titles) or 'none'}): {mnli}; WNLI and AX are left out"
    return Average(_mean([_mean(found) for found in values.values()]), titles, len(COUNTED), text)


def paper_average(rows: Sequence[GlueRow]) -> Average:
    """The FNet paper's: every column of its table 2 counts once, so MNLI counts twice."""
    found = {row.title: row.paper_score for row in rows if row.task in COUNTED}
    values = {title: value for title, value in found.items() if value is not None}
    text = (
        f"columns ({', '.join(values) or 'none'}) as in the FNet paper: MNLI-m and MNLI-mm count one each, "
        "CoLA is accuracy, STS-B is Spearman"
    )
    return Average(_mean(list(values.values())), tuple(values), COLUMNS, text)


def _mean(values: Sequence[Any]) -> float | None:
    return statistics.fmean(values) if values else None
