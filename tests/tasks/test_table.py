import re
import typing

import pytest
from tensorflow_datasets.text import glue as tfds_glue

from fnet_jax.core.config import PRETRAINING
from fnet_jax.core.config import Task as TaskName
from fnet_jax.core.errors import UserError
from fnet_jax.tasks import table as tasks
from fnet_jax.tasks.classify import glue as glue_files
from fnet_jax.tasks.classify.glue import LAYOUTS
from fnet_jax.tasks.classify.tfds import FIELDS
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import GLUE, TASKS
from tests.conftest import REPOSITORY

# Rows of the files to be handed in, as people count them with wc -l.
SUBMITTED_ROWS = {
    "AX": 1104, "CoLA": 1063, "MNLI-m": 9796, "MNLI-mm": 9847, "MRPC": 1725, "QNLI": 5463,
    "QQP": 390965, "RTE": 3000, "SST-2": 1821, "STS-B": 1379, "WNLI": 146,
}  # fmt: skip
BUILDER_CONFIGS = {config.name: config for config in tfds_glue.Glue.BUILDER_CONFIGS}


def test_every_name_of_the_config_has_a_row():
    assert set(TASKS) == set(typing.get_args(TaskName)) - set(PRETRAINING)
    assert all(name == task.name for name, task in TASKS.items())
    assert set(GLUE) <= set(LAYOUTS) <= set(TASKS)
    assert set(GLUE) <= set(FIELDS) <= set(TASKS)


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
    assert set(FIELDS[name]) == set(config.text_features)
    assert task.pair == (len(config.text_features) == 2) == bool(LAYOUTS[name].text_b)
    if name not in ("mrpc", "cola"):  # whose columns TFDS addresses otherwise
        layout = LAYOUTS[name]
        columns = (layout.text, layout.text_b) if layout.text_b else (layout.text,)
        assert [config.text_features[field] for field in FIELDS[name]] == list(columns)
        if name != "ax":
            assert config.label_column == layout.label
    if LAYOUTS[name].numeric:  # the numbers in the files are these
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
    assert TASKS["ax"].train_split is None
    assert TASKS["classify"].train_split == "train"
    assert TASKS["ag_news"].validation_splits == ("validation",)


def test_the_guide_to_new_tasks_works(tmp_path, make_data, monkeypatch):
    """The rows of docs/add_a_task.md make a task."""
    row, layout, name = re.findall(
        r"```text\n(.*?)```", (REPOSITORY / "docs/add_a_task.md").read_text(), re.S
    )
    task = eval(row.strip().rstrip(","), vars(tasks))
    monkeypatch.setitem(TASKS, task.name, task)
    for key, value in eval(f"{{{layout}}}", vars(glue_files)).items():
        monkeypatch.setitem(LAYOUTS, key, value)
    assert name.strip() == f'"{task.name}",'
    (tmp_path / "SNLI").mkdir()
    (tmp_path / "SNLI" / "dev.tsv").write_text(
        "index\tsentence1\tsentence2\tgold_label\n0\ta\tb\tneutral\n1\tc\td\t-\n"
    )
    data = open_labelled("snli", make_data(corpus="", dir=str(tmp_path)), 0)
    assert data.split("validation").labels.tolist() == [1]
    assert any("1 of 9,842 official" in warning for warning in data.warnings)
    with pytest.raises(UserError, match=r"data\.corpus='tfds:snli' is not read by task='snli'"):
        open_labelled("snli", make_data(corpus="tfds:snli"), 0)
