"""Task `choose`: which of several texts goes on from a first one, from tables as those of SWAG."""

import dataclasses
import json
from typing import Any

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.own_files import complete, paths_of, read_split
from fnet_jax.tasks.files.tables import Table
from fnet_jax.tasks.splits import Split, TaskData
from fnet_jax.tasks.table import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChooseSplit(Split):
    """A context and K choices each; columns as in `Split`, and

    Attributes:
        contexts: N texts.
        choices: N lists of K texts.
        labels: i32[N] numbers of the right choices; None where the source does not say.
    """

    contexts: list[str]
    choices: list[list[str]]
    labels: np.ndarray | None = None

    def example(self, row: int) -> tuple[str, ...]:
        """The context and all choices."""
        return (self.contexts[row], *self.choices[row])

    def shown(self, row: int) -> dict[str, Any]:
        """The texts of one example by name, for files of predictions."""
        return {"text": self.contexts[row], "choices": self.choices[row]}


def read_choose(task: Task, data: DataConfig) -> TaskData[ChooseSplit]:
    """Reads the tables of `data.corpus`, `data.validation` and `data.test`; labels are numbers of choices.

    `data.text_field` names the column of the context; `text_b_field` one whose text begins every choice, or
    none; `choice_fields` those of the choices, or one field of JSONL with a list of them; `label_field` that
    of the number of the right one, from 0.

    Raises:
        UserError: naming file and line, or the key.
    """
    splits = {name: _split(name, path, data) for name, path in paths_of(task, data).items()}
    counts = {name: len(split.choices[0]) for name, split in splits.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"the splits have different numbers of choices ({counts}); give all of them as many")
    labels = tuple(str(number) for number in range(counts["train"]))
    if data.labels not in ((), labels):
        raise UserError(f"data.labels={data.labels} has no place in task='choose'; leave it out")
    return complete(task, labels, splits, data)


def _split(name: str, path: str, data: DataConfig) -> ChooseSplit:
    lists = data.choice_fields if len(data.choice_fields) == 1 else ()
    table = read_split(name, path, data, data.choice_fields, lists)
    choices = _choices(table, data)
    return ChooseSplit(
        name=name,
        contexts=table.columns[data.text_field],
        choices=choices,
        labels=_labels(table, data.label_field, len(choices[0]), name == "test"),
        ids=list(range(len(table.lines))),
        source=path,
    )


def _choices(table: Table, data: DataConfig) -> list[list[str]]:
    if len(data.choice_fields) == 1:
        found = [json.loads(value) for value in table.columns[data.choice_fields[0]]]
    else:
        columns = (table.columns[name] for name in data.choice_fields)
        found = [list(values) for values in zip(*columns, strict=True)]
    for row, texts in enumerate(found):
        if len(texts) != len(found[0]) or len(texts) < 2:
            raise UserError(
                f"{table.where(row)}: {len(texts)} choices; the first row has {len(found[0])}, and all need "
                "the same number, 2 at least"
            )
        empty = [number for number, text in enumerate(texts) if not text.strip()]
        if empty:
            raise UserError(f"{table.where(row)}: choice {empty[0]} (from 0) is empty")
    if data.text_b_field:
        starts = table.columns[data.text_b_field]
        pairs = zip(starts, found, strict=True)
        found = [[f"{start} {text}".strip() for text in texts] for start, texts in pairs]
    return found


def _labels(table: Table, field: str, num_choices: int, is_test: bool) -> np.ndarray | None:
    values = [value.strip() for value in table.columns.get(field, [])]
    if is_test and set(values) <= {"", "-1"}:
        return None
    valid = {str(number): number for number in range(num_choices)}
    for row, value in enumerate(values):
        if value not in valid:
            raise UserError(
                f"{table.where(row)}: {field}={value!r} is no number of a choice; valid: {', '.join(valid)}"
            )
    return np.array([valid[value] for value in values], np.int32)
