"""Files of one's own: where they are, and the tables of the tasks `classify` and `regress`."""

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.tables import SUFFIXES, Table, read_table
from fnet_jax.tasks.splits import (
    AnySplit,
    LabelledData,
    LabelledSplit,
    Split,
    class_ids,
    hold_out,
    numbers,
)
from fnet_jax.tasks.table import Task

# Names of the files in a folder, without suffix.
STEMS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}


def read_own(task: Task, data: DataConfig) -> LabelledData:
    """Reads the tables of `data.corpus`, `data.validation` and `data.test`.

    Args:
        task: classify or regress.
        data: `corpus` is the file of the training split, or a folder with train, validation and test
            files; `text_field`, `text_b_field`, `label_field` name columns, `labels` the classes.

    Raises:
        UserError: naming file and line, or the key.
    """
    tables = {name: _read(path, name, data) for name, path in paths_of(task, data).items()}
    labels = () if task.regression else data.labels or _labels_of(tables["train"], data.label_field)
    splits = {name: _split(task, name, table, labels, data) for name, table in tables.items()}
    return complete(task, labels, splits, data)


def complete(
    task: Task, labels: tuple[str, ...], splits: dict[str, AnySplit], data: DataConfig
) -> LabelledData[AnySplit]:
    """A data set of one's own files: holds out a validation split where there is none.

    Raises:
        UserError: if nothing would be left to train on.
    """
    warnings = []
    if "validation" not in splits:
        train = splits["train"]
        held_out = hold_out(train, data.holdout_fraction)
        validation = cast(Any, train.take(np.flatnonzero(held_out)))
        splits |= {
            "train": train.take(np.flatnonzero(~held_out)),
            "validation": dataclasses.replace(validation, name="validation"),
        }
        warnings.append(
            f"validation: {held_out.sum():,} of the {len(train):,} examples of {train.source}, held out by "
            f"the hash of their text (data.holdout_fraction={data.holdout_fraction})"
        )
    elif repeated := _repeated(splits["train"], splits["validation"]):
        warnings.append(
            f"validation: {repeated:,} of {len(splits['validation']):,} examples have their text in the "
            "training split too, so scores flatter"
        )
    missing = {} if "test" in splits else {"test": "no data.test, and no file test.* in data.corpus"}
    return LabelledData(task, labels, splits, tuple(warnings), missing)


def paths_of(task: Task, data: DataConfig, suffixes: Sequence[str] = SUFFIXES) -> dict[str, str]:
    """The file of each split, by name.

    Args:
        task: for messages.
        data: `corpus`, `validation` and `test`.
        suffixes: of files to look for in a folder, each also with .gz.

    Raises:
        UserError: naming the key, if there is no such file.
    """
    place = os.path.expanduser(data.corpus)
    if os.path.isfile(place):
        paths = {"train": place}
    elif os.path.isdir(place):
        paths = _in_folder(place, suffixes)
    else:
        embedded = "" if task.head == "sequence" else "pydocs, "
        raise UserError(
            f"data.corpus={data.corpus!r} is no file or folder; task={task.name!r} reads {embedded}"
            f"{', '.join(suffixes)} files (also .gz) of your own, or a folder with train and test files"
        )
    given = {"validation": data.validation, "test": data.test}
    for name, path in given.items():
        if path:
            paths[name] = os.path.expanduser(path)
            if not os.path.isfile(paths[name]):
                raise UserError(f"data.{name}={path!r} is no file")
    return paths


def _in_folder(folder: str, suffixes: Sequence[str]) -> dict[str, str]:
    """The files of the splits in a folder."""
    files = sorted(name for name in os.listdir(folder) if name.removesuffix(".gz").endswith(tuple(suffixes)))
    paths = {}
    for split, stems in STEMS.items():
        found = [name for name in files if name.split(".")[0] in stems]
        if len(found) > 1:
            raise UserError(f"data.corpus={folder} has {' and '.join(found)} for {split}; keep one")
        if found:
            paths[split] = os.path.join(folder, found[0])
    if "train" not in paths:
        raise UserError(
            f"data.corpus={folder} has no train file; names: train, validation (or dev, valid), test, with "
            f"{', '.join(suffixes)}, also .gz"
        )
    return paths


def _read(path: str, split: str, data: DataConfig) -> Table:
    texts = [data.text_field, *([data.text_b_field] if data.text_b_field else [])]
    is_test = split == "test"
    table = read_table(
        path,
        texts if is_test else [*texts, data.label_field],
        [data.label_field] if is_test else [],
    )
    if not table.lines:
        raise UserError(f"{path} has no rows")
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


def _split(task: Task, name: str, table: Table, labels: tuple[str, ...], data: DataConfig) -> LabelledSplit:
    values = [value.strip() for value in table.columns.get(data.label_field, [])]
    is_unlabelled = not values or (name == "test" and not task.regression and set(values) == {"-1"})
    if "" in values:
        raise UserError(f"{table.where(values.index(''))}: empty label ({data.label_field})")
    found = None
    if not is_unlabelled:
        found = numbers(values, table.where) if task.regression else class_ids(values, labels, table.where)
    return LabelledSplit(
        name=name,
        texts=table.columns[data.text_field],
        texts_b=table.columns[data.text_b_field] if data.text_b_field else None,
        labels=found,
        ids=list(range(len(table.lines))),
        source=table.path,
    )


def _repeated(train: Split, validation: Split) -> int:
    """How many examples of the validation split are in the training split too, whatever their label."""
    known = {train.example(row) for row in range(len(train))}
    return sum(validation.example(row) in known for row in range(len(validation)))
