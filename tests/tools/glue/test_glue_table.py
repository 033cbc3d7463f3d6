"""Averages, settings and the table."""

import statistics

import pytest

from fnet_jax.tasks.table import TASKS
from fnet_jax.tools.glue import table as glue_table
from fnet_jax.tools.glue.table import choose, glue_average, group_by_setting, paper_average, rows_of
from fnet_jax.tools.sweep.point import PointResult

RATE, BATCH = glue_table.LEARNING_RATE, glue_table.BATCH_SIZE

# GLUE validation in the paper (Lee-Thorp et al. 2022, arXiv 2105.03824): MNLI-m, MNLI-mm, QQP, QNLI, SST-2,
# CoLA, STS-B, MRPC, RTE, and the average that it prints.
PAPER = {
    "BERT-Base": ([84, 81, 87, 91, 93, 73, 89, 83, 69], 83.3),
    "Linear-Base": ([74, 75, 84, 80, 94, 67, 67, 83, 69], 77.0),
    "FNet-Base": ([72, 73, 83, 80, 95, 69, 79, 76, 63], 76.7),
    "FNet-Hybrid-Base": ([78, 79, 85, 88, 94, 76, 86, 79, 60], 80.6),
    "FNet-Large": ([78, 76, 85, 85, 94, 78, 84, 88, 69], 81.9),
}
ORDER = ["mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"]


def result(task, score, rate=1e-5, seed=0, batch=None, warnings=(), **more):
    overrides = {"task": task, RATE: rate, "seed": seed} | ({BATCH: batch} if batch else {})
    splits = TASKS[task].validation_splits
    values = {"step": 9, "not_whole": []}
    for index, split in enumerate(splits):
        own = score[index] if isinstance(score, tuple) else score
        found = {
            "split": split,
            "examples": 1234,
            "score": own,
            "paper_score": own,
            "warnings": list(warnings),
        }
        found |= {name: own for name in TASKS[task].metrics}
        values |= {(f"{split}/" if index else "") + name: value for name, value in found.items()}
    return overrides, PointResult(overrides, "", 0, 1.0, "", {**values, **more})


def setting_of(*pairs):
    (setting,) = group_by_setting(pairs, 64)
    return setting


def paper_rows(columns):
    mnli, others = tuple(score / 100 for score in columns[:2]), [score / 100 for score in columns[2:]]
    scores = dict(zip(ORDER, [mnli, *others], strict=True))
    return [row for task in ORDER for row in rows_of(TASKS[task], setting_of(result(task, scores[task])))]


@pytest.mark.parametrize("model", PAPER)
def test_the_papers_average_counts_mnli_twice(model):
    columns, printed = PAPER[model]
    rows = paper_rows(columns)
    assert [row.title for row in rows[:2]] == ["MNLI-m", "MNLI-mm"]
    assert round(100 * paper_average(rows).value, 1) == printed
    assert str(paper_average(rows)).startswith(f"{printed}, of all 9 columns")


def test_the_benchmarks_average_counts_mnli_once():
    rows = paper_rows(PAPER["FNet-Base"][0])
    expected = statistics.fmean([72.5, 83, 80, 95, 69, 79, 76, 63])
    assert 100 * glue_average(rows).value == pytest.approx(expected)
    assert str(glue_average(rows)).startswith("77.2, of all 8 tasks")


def test_averages_of_some_tasks_say_so():
    rows = [
        *rows_of(TASKS["cola"], setting_of(result("cola", 0.4))),
        *rows_of(TASKS["wnli"], setting_of(result("wnli", 0.9))),
        *rows_of(TASKS["rte"], setting_of(result("rte", None))),
    ]
    assert str(glue_average(rows)).startswith("40.0, of 1 of 8 tasks (CoLA): ")
    assert str(paper_average(rows)).startswith("40.0, of 1 of 9 columns (CoLA) ")
    only_mm = {"split": "validation_mismatched", "examples": 5, "score": 0.7, "paper_score": 0.7}
    overrides = {RATE: 1e-5, "seed": 0}
    half = rows_of(TASKS["mnli"], setting_of((overrides, PointResult(overrides, "", 0, 1.0, "", only_mm))))
    assert "MNLI counts as MNLI-mm alone" in str(glue_average(half))
    assert glue_average([]).value is None
    assert str(glue_average([])).startswith("-, of 0 of 8 tasks (none)")


def test_the_best_median_counts_and_its_best_seed_speaks():
    lucky = [result("rte", score, 1e-5, seed) for seed, score in enumerate([0.5, 0.51, 0.9])]
    steady = [result("rte", score, 5e-5, seed) for seed, score in enumerate([0.61, 0.63, 0.62])]
    setting = choose(group_by_setting([*lucky, *steady], 64))
    assert (setting.learning_rate, setting.batch_size) == (5e-5, 64)
    assert setting.best.overrides["seed"] == 1
    (row,) = rows_of(TASKS["rte"], setting)
    assert row.score == statistics.median([0.61, 0.63, 0.62])


def test_a_setting_with_fewer_runs_does_not_win_by_luck():
    whole = [result("rte", 0.6, 1e-5, seed) for seed in range(2)]
    cut = [result("rte", 0.9, 5e-5, 0), ({"task": "rte", RATE: 5e-5, "seed": 1}, None)]
    assert choose(group_by_setting([*cut, *whole], 64)).learning_rate == 1e-5
    failed = {"task": "rte", RATE: 5e-5, "seed": 1}
    cut[1] = (failed, PointResult(failed, "", 3, 1.0, "error: loss is nan"))
    assert choose(group_by_setting([*cut, *whole], 64)).learning_rate == 1e-5
    cut[1] = result("rte", 0.9, 5e-5, 1, warnings=["constant"])
    assert choose(group_by_setting([*cut, *whole], 64)).learning_rate == 1e-5


def test_batch_sizes_are_settings_too():
    pairs = [result("rte", 0.5, batch=32), result("rte", 0.6, batch=64)]
    assert [setting.batch_size for setting in group_by_setting(pairs, 8)] == [32, 64]
    assert choose(group_by_setting(pairs, 8)).batch_size == 64


def test_a_flawed_task_is_no_result():
    warning = "the model predicts 'entailment' for all 277 examples; that is no result"
    setting = setting_of(*[result("rte", 0.527, seed=seed, warnings=[warning]) for seed in range(3)])
    rows = rows_of(TASKS["rte"], setting)
    assert rows[0].score is None
    assert glue_average(rows).value is None
    text = glue_table.table(rows)
    assert text.splitlines()[2].startswith("| RTE† |     - |")
    assert f"† RTE: 3 of 3 runs left out: {warning}" in text


def test_a_flaw_of_one_half_of_mnli_counts():
    values = {"validation_mismatched/warnings": ["constant"]}
    assert setting_of(result("mnli", 0.5, **values)).runs == ()


RULE = [(8, ""), *((n, ":") for n in (6, 5, 7)), (24, ""), *((n, ":") for n in (6, 9, 14, 6, 5, 9))]


def test_table():
    runs = [
        result("mrpc", score, 5e-5, seed, f1=f1, accuracy=accuracy, paper_score=score, baseline_score=0.75)
        for seed, (score, f1, accuracy) in enumerate(
            [(0.80, 0.85, 0.75), (0.82, 0.86, 0.78), (0.85, 0.9, 0.8)]
        )
    ]
    partial = result("sst2", 0.9, not_whole=["train", "test"])
    rows = [*rows_of(TASKS["mrpc"], setting_of(*runs)), *rows_of(TASKS["sst2"], setting_of(partial))]
    lines = glue_table.table(rows).splitlines()
    assert [line.replace(" ", "") for line in lines[:4]] == [
        "|task|score|max|spread|metrics|paper|majority|learningrate|batch|runs|examples|",
        "|" + "|".join("-" * n + right for n, right in RULE) + "|",
        "|MRPC|82.0|85.0|5.0|accuracy78.0,f186.0|82.0|75.0|5e-05|64|3|1,234|",
        "|SST-2*|90.0|90.0|0.0|accuracy90.0|90.0|-|1e-05|64|1|1,234|",
    ]
    assert len({len(line) for line in lines[:4]}) == 1, "the columns stand one below the other"
    assert lines[-1].endswith("compares with no table: SST-2 (train)")
