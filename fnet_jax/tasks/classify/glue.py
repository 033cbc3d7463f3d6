"""GLUE from the benchmark's own files (Wang et al. 2019, arXiv 1804.07461).

Columns are found by name. The labels of test splits are never read: GLUE keeps them secret, and where
they can be had (MRPC), a score on them is a leak.
"""

import dataclasses
import os

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.files.tables import Table, read_table
from fnet_jax.tasks.splits import TaskData, class_ids, numbers
from fnet_jax.tasks.table import Task

NO_GOLD_LABEL = "-"  # the annotators did not agree


def read_glue(task: Task, data: DataConfig) -> TaskData:
    """Reads the files of a task from `data.dir`, the folder with CoLA, SST-2, ... in it, or one of these.

    Raises:
        UserError: if no file is there or one is damaged.
    """
    folder = _folder(task, data.dir)
    splits: dict[str, ClassifySplit] = {}
    warnings: list[str] = []
    missing: dict[str, str] = {}
    for name in task.rows:
        path = next((path for path in _candidates(folder, name) if os.path.isfile(path)), "")
        if path:
            splits[name] = _read_split(task, name, path, warnings)
        else:
            names = " or ".join(os.path.basename(path) for path in _candidates(folder, name))
            missing[name] = f"no file {names} in {folder}"
    if task.name == "mrpc":
        _read_paraphrase_corpus(task, folder, splits, missing, warnings)
    if not splits:
        raise UserError(f"data.dir={data.dir}: {'; '.join(missing.values())}")
    return TaskData(task, task.labels, splits, tuple(warnings), missing)


def _folder(task: Task, root: str) -> str:
    if not root:
        raise UserError(
            f"task={task.name!r} needs data.dir, the folder with GLUE's files ({task.title}/train.tsv, ...), "
            "or data.corpus='tfds:glue'"
        )
    root = os.path.expanduser(root)
    names = (task.title, "diagnostic") if task.name == "ax" else (task.title,)
    for name in names:
        if os.path.isdir(os.path.join(root, name)):
            return os.path.join(root, name)
    has_files = any(os.path.isfile(path) for split in task.rows for path in _candidates(root, split))
    if has_files or os.path.basename(os.path.normpath(root)) in names:
        return root
    raise UserError(f"data.dir={root} has no folder {' or '.join(names)}, where GLUE's {task.title} lies")


def _candidates(folder: str, split: str) -> list[str]:
    """Paths of a split's file, the official name first."""
    stem = split.replace("validation", "dev")
    names = [f"{stem}.tsv", f"{stem}_subset.tsv"] if not split.startswith("test") else [f"{stem}.tsv"]
    if os.path.basename(folder) in ("AX", "diagnostic"):
        names = ["AX.tsv", "diagnostic.tsv"]
    return [os.path.join(folder, name) for name in names]


def _read_split(task: Task, name: str, path: str, warnings: list[str]) -> ClassifySplit:
    layout = task.columns
    assert layout is not None
    is_test = name.startswith("test")
    texts = [column for column in (layout.text, layout.text_b) if column]
    table = read_table(
        path,
        texts if is_test else [*texts, layout.label],
        ("index", "id"),
        header=None if is_test else layout.headerless,
        skip_short_rows=layout.has_broken_rows,
    )
    if table.skipped:
        warnings.append(f"{task.title} {name}: {table.skipped:,} broken rows of {path} were passed over")
    return _split(task, name, table, warnings)


def _split(task: Task, name: str, table: Table, warnings: list[str]) -> ClassifySplit:
    layout = task.columns
    assert layout is not None
    texts = table.columns[layout.text]
    values = table.columns.get(layout.label)
    split = ClassifySplit(
        name=name,
        texts=texts,
        texts_b=table.columns[layout.text_b] if layout.text_b else None,
        ids=_index_column(table, len(texts)),
        source=table.path,
    )
    if values is None:
        return split
    if task.regression:
        return dataclasses.replace(split, labels=numbers(values, table.where))
    known = [row for row, value in enumerate(values) if value != NO_GOLD_LABEL]
    names = [str(class_id) for class_id in range(len(task.labels))] if layout.numeric else task.labels
    labels = class_ids([values[row] for row in known], names, lambda row: table.where(known[row]))
    if len(known) < len(values):
        warnings.append(
            f"{task.title} {name}: {len(values) - len(known):,} examples of {table.path} have no gold label "
            f"({NO_GOLD_LABEL!r}) and were left out"
        )
    return dataclasses.replace(split.take(known), labels=labels)


def _index_column(table: Table, count: int) -> list[int]:
    """The benchmark's numbers of the rows, or 0, 1, ... where the table has no column `index` or `id`."""
    column = table.columns.get("index", table.columns.get("id"))
    if column is None:
        return list(range(count))
    for row, value in enumerate(column):
        if not value.isascii() or not value.isdigit():
            raise UserError(f"{table.where(row)}: index {value!r} is no whole number")
    return [int(value) for value in column]


def _read_paraphrase_corpus(
    task: Task, folder: str, splits: dict[str, ClassifySplit], missing: dict[str, str], warnings: list[str]
) -> None:
    """MRPC's missing splits from the corpus that GLUE took them from, divided by `dev_ids.tsv`."""
    train, test, dev_ids = (
        os.path.join(folder, name)
        for name in ("msr_paraphrase_train.txt", "msr_paraphrase_test.txt", "dev_ids.tsv")
    )
    columns = ["#1 ID", "#2 ID", "#1 String", "#2 String"]
    if "test" in missing and os.path.isfile(test):
        splits["test"] = _split(task, "test", read_table(test, columns), warnings)
    if missing.keys() & {"train", "validation"} and os.path.isfile(train) and os.path.isfile(dev_ids):
        table = read_table(train, [*columns, "Quality"])
        pairs = read_table(dev_ids, ["#1 ID", "#2 ID"], header=["#1 ID", "#2 ID"])
        chosen = set(zip(pairs.columns["#1 ID"], pairs.columns["#2 ID"], strict=True))
        rows = zip(table.columns["#1 ID"], table.columns["#2 ID"], strict=True)
        is_dev = np.array([row in chosen for row in rows], bool)
        whole = _split(task, "train", table, warnings)
        for name, mask in (("train", ~is_dev), ("validation", is_dev)):
            if name in missing:
                splits[name] = dataclasses.replace(whole.take(np.flatnonzero(mask)), name=name)
    for name in splits.keys() & missing.keys():
        del missing[name]
