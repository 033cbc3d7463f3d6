"""A labelled data set in memory: its splits, and how labels are read and splits are divided."""

import abc
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.data.segments import document_hash
from fnet_jax.data.shuffle import permute
from fnet_jax.tasks.table import Task

_NAMES_SHOWN = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split(abc.ABC):
    """N examples of a task; the fields that are lists or arrays are columns with a value for each.

    Attributes:
        name: train, validation, validation_matched, test, ...
        ids: the benchmark's `index` or `id` where the source has it, else the number of the row, from 0.
        source: path, for messages and tables.
        official_rows: N of the whole official split; None where nobody says.
        labels: what is to be predicted; None where the source does not say.
    """

    name: str
    ids: list[Any]
    source: str
    official_rows: int | None = None
    labels: Any = None

    def __len__(self) -> int:
        """N."""
        return len(self.ids)

    @property
    def is_whole(self) -> bool:
        """Whether it has all rows of the official split, or nobody says how many these are."""
        return self.official_rows in (None, len(self))

    @property
    def is_labelled(self) -> bool:
        """Whether the source says what is to be predicted."""
        return self.labels is not None

    @abc.abstractmethod
    def example(self, row: int) -> tuple[str, ...]:
        """The texts of one example; where two examples have the same, one gives the other away."""

    def key(self, row: int) -> str:
        """Examples with the same key are held out together."""
        return "\0".join(self.example(row))

    def texts_to_learn(self) -> Iterator[str]:
        """All texts, to train a tokenizer on."""
        return (text for row in range(len(self)) for text in self.example(row) if text)

    def take(self, rows: Iterable[int] | np.ndarray) -> Self:
        """Some of the examples."""
        chosen = np.asarray(rows, np.int64)
        columns: dict[str, Any] = {
            name: column[chosen] if isinstance(column, np.ndarray) else [column[row] for row in chosen]
            for name, column in self._columns().items()
        }
        return dataclasses.replace(self, **columns)

    def digest(self) -> str:
        """A short hash of all columns, which tells whether two hosts have read the same."""
        digest = hashlib.sha256()
        for name, column in self._columns().items():
            digest.update(json.dumps([name, column], default=lambda array: array.tolist()).encode())
        return digest.hexdigest()[:12]

    def _columns(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in fields.items() if isinstance(value, list | np.ndarray)}


SplitT = TypeVar("SplitT", bound=Split)


@dataclasses.dataclass(frozen=True)
class TaskData(Generic[SplitT]):
    """The labelled data of a task, as read: nothing is tokenised.

    Attributes:
        task: its row of `tasks.TASKS`.
        labels: names of the classes in the order of their ids; () for regression.
        splits: by name.
        warnings: sentences that a person should read once.
        missing: what was looked for, by name of a split that is not there.
    """

    task: Task
    labels: tuple[str, ...]
    splits: Mapping[str, SplitT]
    warnings: tuple[str, ...] = ()
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def split(self, name: str) -> SplitT:
        """A split by name.

        Raises:
            UserError: if it is not there, saying what was looked for.
        """
        if name in self.splits:
            return self.splits[name]
        if name in self.missing:
            raise UserError(f"task={self.task.name!r} has no split {name!r} here: {self.missing[name]}")
        raise UserError(f"task={self.task.name!r} has no split {name!r}; it has {', '.join(self.splits)}")


def class_ids(values: Sequence[str], names: Sequence[str], where: Callable[[int], str]) -> np.ndarray:
    """Names of labels to class ids, i32[N]; `where` gives the place of a row, for the message.

    Raises:
        UserError: for a value that is none of the names.
    """
    by_name = {name: class_id for class_id, name in enumerate(names)}
    ids = [by_name.get(value, -1) for value in values]
    if -1 in ids:
        row = ids.index(-1)
        shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
        raise UserError(f"{where(row)}: label {values[row]!r} is unknown; valid: {shown}")
    return np.array(ids, np.int32)


def numbers(values: Sequence[str], where: Callable[[int], str]) -> np.ndarray:
    """Labels of regression, f32[N].

    Raises:
        UserError: for a value that is no finite number.
    """
    found = np.empty(len(values), np.float32)
    for row, value in enumerate(values):
        try:
            found[row] = float(value)
        except ValueError:
            found[row] = math.nan
        if not math.isfinite(found[row]):
            raise UserError(f"{where(row)}: label {value!r} is no finite number")
    return found


def is_held_out(text: str, fraction: float) -> bool:
    """Whether the hash of a text puts it among the share `fraction` to evaluate on."""
    return document_hash(text) < int(fraction * 2**64)


def hold_out(split: SplitT, fraction: float, keys: Sequence[str] | None = None) -> dict[str, SplitT]:
    """Divides a split into "train" and "validation" by the hash of its texts, whatever their order.

    Equal texts stay together. Where the fraction takes none, the smallest hash is held out.

    Args:
        split: N examples.
        fraction: share of the examples to evaluate on.
        keys: N texts to hash in place of the examples' own, such as the documents they come from.

    Raises:
        UserError: if nothing would be left to train on.
    """
    keys = keys or [split.key(row) for row in range(len(split))]
    held_out = np.array([is_held_out(key, fraction) for key in keys], bool)
    if not held_out.any():
        smallest = min(keys, key=document_hash, default="")
        held_out = np.array([key == smallest for key in keys], bool)
    if held_out.all():
        raise UserError(
            f"{split.source} has {len(split)} examples, too few to hold out a share of "
            f"data.holdout_fraction={fraction}; give data.validation"
        )
    parts = {}
    for name, mask, rows in (
        ("train", ~held_out, None if split.is_whole else split.official_rows),
        ("validation", held_out, None),
    ):
        parts[name] = dataclasses.replace(split.take(np.flatnonzero(mask)), name=name, official_rows=rows)
    return parts


def choose(split: SplitT, count: int, seed: int) -> SplitT:
    """So many examples chosen by `seed`, in their order; a larger choice contains a smaller one."""
    if not 0 < count < len(split):
        return split
    return split.take(np.sort(permute(np.arange(count), len(split), seed)))
