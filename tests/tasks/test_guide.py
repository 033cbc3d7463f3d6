"""docs/add_a_task.md, followed to the letter: its code is read from the page, trained, evaluated."""

import ast
import importlib
import json
import re

import jax
import numpy as np
import pytest

import fnet_jax.tasks
from fnet_jax.configs import classify
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import saved_config
from fnet_jax.tasks import kinds, table
from fnet_jax.tasks.kinds import KINDS
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS
from fnet_jax.train import evaluate
from fnet_jax.train.concrete import make_config
from fnet_jax.train.loop import train
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "add_a_task.md").read_text()
FILES = dict(re.findall(r"`fnet_jax/(tasks/multilabel/\w+\.py)`\..*?```python\n(.*?)```", PAGE, re.DOTALL))
SNLI, KIND, MULTILABEL = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
WORDS = {"sweet": "apple honey", "red": "apple brick", "hard": "brick stone", "": "wool rain moon"}


@pytest.fixture
def add_task(monkeypatch):
    """A function that makes a row of `TASKS` of the text of one."""

    def add_task(row: str) -> None:
        task = eval(row.strip().rstrip(","), vars(table))
        monkeypatch.setitem(TASKS, task.name, task)

    return add_task


@pytest.fixture
def add_kind(monkeypatch, tmp_path):
    """A function that makes the folder of the new kind, and its row of `KINDS`."""

    def add_kind() -> None:
        for name, content in {**FILES, "tasks/multilabel/__init__.py": ""}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        monkeypatch.setattr(fnet_jax.tasks, "__path__", [*fnet_jax.tasks.__path__, str(tmp_path / "tasks")])
        found = vars(importlib.import_module("fnet_jax.tasks.multilabel.kind"))
        for name, kind in eval(f"{{{KIND}}}", {**vars(kinds), **found}).items():
            monkeypatch.setitem(KINDS, name, kind)

    return add_kind


def trained(task: str, workdir, steps: int, **data) -> dict:
    """Trains on `data` and evaluates, with files of predictions."""
    overrides = {"task": task, **{f"data.{key}": str(value) for key, value in data.items()}}
    config = classify.get_config("smoke")
    config.update_from_flattened_dict(
        {**overrides, "data.max_train_examples": 0, "train.num_train_steps": steps}
    )
    with jax.numpy_dtype_promotion("standard"):
        assert train(make_config(config, overrides), str(workdir)) == 0
        saved = saved_config(str(workdir))
        assert saved is not None
        return evaluate.evaluate_checkpoint(saved, str(workdir), write_predictions=True)


def test_a_data_set_is_a_row(tmp_path, tokenizer_path, make_data, add_task):
    add_task(SNLI)
    (tmp_path / "SNLI").mkdir()
    for name in ("train", "dev"):
        rows = [f"{i}\tA text {i} {name}.\tIts {i % 3} answer.\t" for i in range(60)]
        labels = ["neutral", "contradiction", "entailment"]
        lines = [row + labels[i % 3] for i, row in enumerate(rows)] + ["60\tc\td\t-"]
        (tmp_path / "SNLI" / f"{name}.tsv").write_text(
            "index\tsentence1\tsentence2\tgold_label\n" + "\n".join(lines)
        )
    values = trained("snli", tmp_path / "w", 4, dir=tmp_path, corpus="", tokenizer=tokenizer_path)
    assert values["examples"] == 50 and values["not_whole"] == ["train", "validation"]
    assert (tmp_path / "w" / "predictions-snli-validation.jsonl").read_text().count('"text_b"') == 50
    data = open_labelled("snli", make_data(corpus="", dir=str(tmp_path)), 0)
    assert data.split("validation").labels.tolist() == [1, 2, 0] * 20
    assert any("60 of 9,842 official" in warning for warning in data.warnings)
    with pytest.raises(UserError, match=r"data\.corpus='tfds:snli' is not read by task='snli'"):
        open_labelled("snli", make_data(corpus="tfds:snli"), 0)


def test_a_kind_is_a_folder_and_two_rows(tmp_path, tokenizer_path, add_kind, add_task):
    add_kind()
    add_task(MULTILABEL)
    rng = np.random.default_rng(0)
    with open(tmp_path / "things.jsonl", "w") as file:
        for _ in range(400):
            words = rng.choice(sorted({word for words in WORDS.values() for word in words.split()}), 2)
            labels = [name for name, its in WORDS.items() if name and set(its.split()) & set(words)]
            file.write(json.dumps({"text": " ".join(words), "label": labels}) + "\n")
    corpus = tmp_path / "things.jsonl"
    values = trained("multilabel", tmp_path / "w", 100, corpus=corpus, tokenizer=tokenizer_path)
    assert values["f1"] == values["score"] > values["baseline_f1"] + 0.3
    predictions = [
        json.loads(line)
        for line in (tmp_path / "w" / "predictions-multilabel-validation.jsonl").read_text().splitlines()
    ]
    assert len(predictions) == values["examples"]
    right = guessed = wanted = 0
    for row in predictions:
        gold = {name for name, its in WORDS.items() if name and set(its.split()) & set(row["text"].split())}
        right += len(gold & set(row["prediction"]))
        guessed, wanted = guessed + len(row["prediction"]), wanted + len(gold)
    assert values["f1"] == pytest.approx(2 * right / (guessed + wanted))


@pytest.mark.parametrize("name", FILES)
def test_code_of_the_page_has_docstrings_and_no_unused_import(name):
    tree = ast.parse(FILES[name])
    assert ast.get_docstring(tree)
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert {name.partition(".")[0] for name in imported} <= used
    assert max(map(len, FILES[name].splitlines())) <= 110
