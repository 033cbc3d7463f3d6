import pytest
from tensorflow_datasets.text import glue as tfds_glue

from fnet_jax.tasks.table import GLUE, TASKS

# Rows of the files to be handed in, as people count them with wc -l.
SUBMITTED_ROWS = {
    "AX": 1104, "CoLA": 1063, "MNLI-m": 9796, "MNLI-mm": 9847, "MRPC": 1725, "QNLI": 5463,
    "QQP": 390965, "RTE": 3000, "SST-2": 1821, "STS-B": 1379, "WNLI": 146,
}  # fmt: skip
BUILDER_CONFIGS = {config.name: config for config in tfds_glue.Glue.BUILDER_CONFIGS}


def test_tasks_of_glue_have_both_kinds_of_files():
    assert all(TASKS[name].columns and TASKS[name].tfds_fields for name in GLUE)


def test_test_splits_have_the_benchmarks_size():
    rows = {}
    for task in map(TASKS.get, GLUE):
        for split in task.test_splits:
            rows[task.title + {"test_matched": "-m", "test_mismatched": "-mm"}.get(split, "")] = task.rows[
                split
            ]
    assert rows == SUBMITTED_ROWS


@pytest.mark.parametrize("name", GLUE)
def test_rows_agree_with_tfds(name):
    """TFDS holds labels, fields and pairs of the same tasks; only the order may differ from ours."""
    task, config = TASKS[name], BUILDER_CONFIGS[name]
    assert sorted(task.labels) == sorted(config.label_classes or ())
    assert task.regression == (config.label_classes is None)
    assert set(task.tfds_fields) == set(config.text_features)
    assert task.has_pairs == (len(config.text_features) == 2)
    if name not in ("mrpc", "cola"):  # whose columns TFDS addresses otherwise
        texts = [column for column in (task.columns.text, task.columns.text_b) if column]
        assert [config.text_features[field] for field in task.tfds_fields] == texts
        if name != "ax":
            assert config.label_column == task.columns.label
    if task.columns.numeric:  # the numbers in the files are these
        assert list(task.labels) == list(config.label_classes)


def test_both_counts_of_qqp_are_whole():
    qqp = TASKS["qqp"]
    assert qqp.official_rows("train", 363_846) == 363_846
    assert qqp.official_rows("train", 363_849) == 363_849
    assert qqp.official_rows("train", 363_847) == 363_846
    assert qqp.official_rows("validation", 363_849) == 40_430
    assert TASKS["pydocs"].official_rows("train", 5) is None


def test_splits_by_their_use():
    assert TASKS["mnli"].validation_splits == ("validation_matched", "validation_mismatched")
    assert TASKS["mnli"].test_splits == ("test_matched", "test_mismatched")
    assert TASKS["ag_news"].validation_splits == ("validation",)
