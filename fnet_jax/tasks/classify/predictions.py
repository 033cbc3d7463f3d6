"""What a model says of an example, and files of it as JSONL."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.special

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.tasks.files.reader import open_bytes, read_records

_DIGITS = 6


class Shown(Protocol):
    """The split that predictions are of; see `splits.Split`."""

    labels: np.ndarray | None
    ids: list[int]

    def __len__(self) -> int: ...  # noqa: D105

    def shown(self, row: int) -> dict[str, Any]:
        """The texts of one example by name."""
        ...


class Prediction(NamedTuple):
    """What a classifier says of an example.

    Attributes:
        prediction: name of the most probable class; for regression the number.
        scores: probability of each class by name; {} for regression.
    """

    prediction: str | float
    scores: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The fields in a file: few digits, null for what is no finite number, no empty `scores`."""
        value = self.prediction if isinstance(self.prediction, str) else _number(self.prediction)
        scores = {name: _number(score) for name, score in self.scores.items()}
        return {"prediction": value, "scores": scores} if scores else {"prediction": value}


def of_logits(names: Sequence[str], logits_NC: np.ndarray) -> list[Prediction]:
    """The predictions of N examples; `names` are the classes by id, () for regression, where C = 1."""
    if not names:
        return [Prediction(float(value), {}) for value in logits_NC[:, 0]]
    probabilities_NC = scipy.special.softmax(logits_NC, axis=-1)
    return [
        Prediction(names[class_id], dict(zip(names, probabilities_C.tolist(), strict=True)))
        for class_id, probabilities_C in zip(logits_NC.argmax(-1), probabilities_NC, strict=True)
    ]


def write(path: str, split: Shown, names: Sequence[str], logits_NC: np.ndarray) -> None:
    """Writes one JSON object per example.

    | field | what |
    |---|---|
    | `index` | the benchmark's number of the example, else that of its row |
    | `text`, `text_b` | the second one for pairs alone |
    | `choices` | the texts to choose from, of multiple choice |
    | `label` | name of the class, or number; null where the split has none |
    | `prediction` | the same of the model; null where its number is not finite |
    | `scores` | probability of each class by name; not for regression |

    The logits are for the first N examples of the split; `names` as in `of_logits`.

    Raises:
        ValueError: if there are more logits than examples, or not one per class.
    """
    count, outputs = logits_NC.shape
    if count > len(split) or outputs != max(len(names), 1):
        raise ValueError(
            f"logits {logits_NC.shape} do not fit {len(split)} examples and {len(names)} classes"
        )
    lines = []
    for row, predicted in enumerate(of_logits(names, logits_NC)):
        example = {"index": split.ids[row], **split.shown(row), "label": _label(split, names, row)}
        lines.append(
            json.dumps({**example, **predicted.as_json()}, ensure_ascii=False, allow_nan=False) + "\n"
        )
    write_atomically(path, "".join(lines).encode())


def read(path: str) -> list[dict[str, Any]]:
    """The objects of a file that `write` has written.

    Raises:
        UserError: if it cannot be read; names file and line.
    """
    found = []
    with open_bytes(path) as file:
        for line, fields, fault, _ in read_records(file, path, "jsonl"):
            if not fault and not fields.keys() >= {"index", "prediction"}:
                fault = f"{json.dumps(fields)[:40]!r} is no object with index and prediction"
            if fault:
                raise UserError(f"{path}:{line}: {fault}")
            found.append(fields)
    return found


def _label(split: Shown, names: Sequence[str], row: int) -> str | float | None:
    if split.labels is None:
        return None
    label = split.labels[row]
    if not names:
        return _number(label)
    return names[label] if label >= 0 else None


def _number(value: float) -> float | None:
    """JSON has no nan."""
    return round(float(value), _DIGITS) if math.isfinite(value) else None
