"""Labelled tasks from TFDS: those of GLUE, and AG News."""

import dataclasses
from typing import Any

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data.tfds_sets import PREFIX, check_prepared, open_builder
from fnet_jax.tasks.classify.ag_news import clean
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.splits import TaskData, class_ids
from fnet_jax.tasks.table import GLUE, Task

UNKNOWN = -1  # label of examples without one


def read_tfds(task: Task, data: DataConfig) -> TaskData:
    """Reads a task from `data.corpus`, which is "tfds:glue", "tfds:ag_news_subset" or "tfds:FOLDER".

    Class ids follow the names of the labels, whatever the order in TFDS.

    Raises:
        UserError: if it is not there or is something else.
    """
    place = data.corpus.removeprefix(PREFIX)
    if place == "glue":
        place = f"glue/{task.name}"
    builder = open_builder(data.corpus, place)
    check_prepared(builder, data.corpus, place)
    config = builder.info.config_name
    if config and config in GLUE and config != task.name:
        raise UserError(f"data.corpus={data.corpus!r} holds {config!r}, not task={task.name!r}")
    for field in (*task.tfds_fields, "label"):
        if field not in builder.info.features:
            fields = ", ".join(sorted(builder.info.features))
            raise UserError(f"data.corpus={data.corpus!r} has no field {field!r}; it has {fields}")
    warnings: list[str] = []
    names = [name for name in (*task.rows, *task.validation_splits) if name in builder.info.splits]
    splits = {name: _read_split(task, builder, name, warnings) for name in dict.fromkeys(names)}
    missing = {
        name: f"no split {name!r} in {builder.data_dir}"
        for name in task.rows
        if name not in builder.info.splits
    }
    return TaskData(task, task.labels, splits, tuple(warnings), missing)


def _read_split(task: Task, builder: Any, name: str, warnings: list[str]) -> ClassifySplit:
    records = builder.as_data_source(split=name)
    columns: list[list[str]] = [[] for _ in task.tfds_fields]
    labels, ids = [], []
    for row in range(len(records)):
        record = records[row]
        for column, field in zip(columns, task.tfds_fields, strict=True):
            column.append(record[field].decode())
        labels.append(record["label"])
        ids.append(int(record.get("idx", row)))
    texts_b = columns[1] if task.has_pairs and len(columns) > 1 else None
    texts = columns[0]
    if len(columns) > 1 and not task.has_pairs:
        texts = [clean(" ".join(parts)) for parts in zip(*columns, strict=True)]
    source = f"{builder.data_dir}:{name}"
    split = ClassifySplit(name=name, ids=ids, source=source, texts=texts, texts_b=texts_b)
    if name.startswith("test") and task.name in GLUE:  # kept secret; see glue.py
        return split
    return _with_labels(task, split, builder.info.features["label"], np.array(labels), warnings)


def _with_labels(
    task: Task, split: ClassifySplit, feature: Any, labels: np.ndarray, warnings: list[str]
) -> ClassifySplit:
    """Adds labels; leaves out examples that have none."""
    if not task.regression and (labels == UNKNOWN).all():
        return split
    rows = np.arange(len(split)) if task.regression else np.flatnonzero(labels != UNKNOWN)
    if len(rows) < len(split):
        warnings.append(
            f"{task.title} {split.name}: {len(split) - len(rows):,} examples of {split.source} have no label "
            "and were left out"
        )
    if task.regression:
        found = labels.astype(np.float32)
    else:
        names = [feature.int2str(int(label)) for label in labels[rows]]
        found = class_ids(names, task.labels, lambda row: f"{split.source}, record {rows[row]}")
    return dataclasses.replace(split.take(rows), labels=found)
