"""Texts or pairs of texts with one label, from tables of one's own: tasks `classify` and `regress`."""

import dataclasses
import re
from typing import Any

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.own_files import complete, paths_of, read_split
from fnet_jax.tasks.files.tables import Table
from fnet_jax.tasks.splits import Split, TaskData, class_ids, numbers
from fnet_jax.tasks.table import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifySplit(Split):
    """Texts or pairs of texts with one label each; columns as in `Split`, and

    Attributes:
        texts: N.
        texts_b: N second texts of pairs; None for single texts.
        labels: i32[N] class ids, or f32[N] numbers; None where the source has none.
    """

    texts: list[str]
    texts_b: list[str] | None = None
    labels: np.ndarray | None = None

    def example(self, row: int) -> tuple[str, str]:
        """Both texts; the second one is "" where there is none."""
        return self.texts[row], self.texts_b[row] if self.texts_b is not None else ""

    def shown(self, row: int) -> dict[str, Any]:
        """The texts of one example by name, for files of predictions."""
        text = {"text": self.texts[row]}
        return text if self.texts_b is None else {**text, "text_b": self.texts_b[row]}


def read_tables(task: Task, data: DataConfig) -> TaskData:
    """Reads the tables of `data.corpus`, `data.validation` and `data.test`.

    `data.text_field`, `text_b_field` and `label_field` name columns, `data.labels` the classes.

    Raises:
        UserError: naming file and line, or the key.
    """
    tables = {name: _read(name, path, data) for name, path in paths_of(task, data).items()}
    labels = () if task.regression else data.labels or _labels_of(tables["train"], data.label_field)
    splits = {name: _split(task, name, table, labels, data) for name, table in tables.items()}
    return complete(task, labels, splits, data)


def _read(split: str, path: str, data: DataConfig) -> Table:
    table = read_split(split, path, data)
    texts = [name for name in (data.text_field, data.text_b_field) if name]
    for row, values in enumerate(zip(*(table.columns[name] for name in texts), strict=True)):
        if not any(value.strip() for value in values):
            raise UserError(f"{table.where(row)}: empty text ({' and '.join(texts)}); take the row out")
    return table


def _labels_of(table: Table, field: str) -> tuple[str, ...]:
    """The labels of the training split: whole numbers by size, anything else by the alphabet."""
    values = sorted({value.strip() for value in table.columns[field]})
    if all(re.fullmatch(r"[+-]?\d+", value, re.ASCII) for value in values):
        values.sort(key=int)
    if len(values) < 2:
        raise UserError(f"{table.path}: all labels are {values[0]!r}; a classifier needs two at least")
    return tuple(values)


def _split(task: Task, name: str, table: Table, labels: tuple[str, ...], data: DataConfig) -> ClassifySplit:
    values = [value.strip() for value in table.columns.get(data.label_field, [])]
    is_unlabelled = not values or (name == "test" and not task.regression and set(values) == {"-1"})
    if "" in values:
        raise UserError(f"{table.where(values.index(''))}: empty label ({data.label_field})")
    found = None
    if not is_unlabelled:
        found = numbers(values, table.where) if task.regression else class_ids(values, labels, table.where)
    return ClassifySplit(
        name=name,
        texts=table.columns[data.text_field],
        texts_b=table.columns[data.text_b_field] if data.text_b_field else None,
        labels=found,
        ids=list(range(len(table.lines))),
        source=table.path,
    )
