"""The commands of `tools.predict`: what each takes from a record, asks of the model, and writes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.reader import scalar
from fnet_jax.tasks.table import TASKS

Fields = Mapping[str, Any]


class FieldNames(NamedTuple):
    """Names of the fields of a record that a command reads.

    Attributes:
        text: the text.
        text_b: the second text; "" for single texts.
        choices: the texts to choose from, or one with a list of them.
    """

    text: str
    text_b: str = ""
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Command:
    """A command. Nothing of the model is imported for it, so that wrong flags are answered at once.

    Attributes:
        item: what is asked about, from the fields of a record; a UserError says why that cannot be.
        answer: fields to write, as JSON has them; vectors are arrays.
        arguments: flags that the predictor of this name takes, see `inference.model.PREDICTORS`.
        other_flags: that have an effect too, of those that not every command has.
        fields: names of the fields of a pair; None: those that the model was trained on, a text or a pair.
        form: a format of the input that this command alone reads.
        suffixes: of the output, besides .jsonl.
    """

    item: Callable[[Fields, FieldNames], Any]
    answer: Callable[[Any], dict[str, Any]]
    arguments: tuple[str, ...] = ()
    other_flags: tuple[str, ...] = ()
    fields: tuple[str, str] | None = None
    form: str = ""
    suffixes: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """All that have an effect on some commands, this one among them."""
        return self.arguments + self.other_flags

    @property
    def is_paired(self) -> bool:
        """Whether single texts are refused."""
        return self.fields is not None

    def trained_on(self, config: Config) -> FieldNames:
        """The names by default."""
        names = self.fields or (config.data.text_field, config.data.text_b_field)
        task = TASKS.get(config.task)
        if not self.fields and task and task.columns:
            names = task.columns.text, task.columns.text_b
        return FieldNames(*names, choices=config.data.choice_fields)


def _text(fields: Fields, names: FieldNames) -> str:
    text = _field(fields, names.text)
    if not text.strip():
        raise UserError(f"empty text ({names.text})")
    return text


def _pair(fields: Fields, names: FieldNames) -> tuple[str, str]:
    pair = _field(fields, names.text), _field(fields, names.text_b)
    if not any(text.strip() for text in pair):
        raise UserError(f"empty texts ({names.text} and {names.text_b})")
    return pair


def _text_or_pair(fields: Fields, names: FieldNames) -> str | tuple[str, str]:
    return _pair(fields, names) if names.text_b else _text(fields, names)


def _words(fields: Fields, names: FieldNames) -> list[str]:
    value = fields.get(names.text)
    if isinstance(value, list):
        return [scalar(names.text, word) for word in value]
    return _text(fields, names).split()


def _choices(fields: Fields, names: FieldNames) -> tuple[str, list[str]]:
    found = fields.get(names.choices[0]) if len(names.choices) == 1 else None
    values = found if isinstance(found, list) else [_field(fields, name) for name in names.choices]
    choices = [scalar(names.choices[0], value) for value in values]
    if names.text_b:
        start = _field(fields, names.text_b)
        choices = [f"{start} {choice}".strip() for choice in choices]
    return _text(fields, names), choices


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise UserError(f"no field {name!r}; it has {', '.join(map(repr, fields))}")
    return scalar(name, fields[name])


COMMANDS = {
    "fill-mask": Command(
        _text,
        lambda masks: {"guesses": [[guess.as_json() for guess in guesses] for guesses in masks]},
        arguments=("top_k", "long", "hf_mask_spacing"),
        other_flags=("held_out",),
    ),
    "classify": Command(
        _text_or_pair, lambda found: found.as_json(), arguments=("long",), other_flags=("pairs", "text_b")
    ),
    "encode": Command(
        _text_or_pair,
        lambda vector: {"vector": vector},
        arguments=("per_position", "long"),
        other_flags=("pairs", "text_b"),
        suffixes=(".npz",),
    ),
    "next-sentence": Command(
        _pair,
        lambda probability: {"probability": round(probability, 6)},
        arguments=("long",),
        other_flags=("text_b",),
        fields=("text", "text_b"),
    ),
    "tag": Command(
        _words,
        lambda tags: {"words": [tag.word for tag in tags], "tags": [tag.tag for tag in tags]},
        form="conll",
        suffixes=(".conll",),
    ),
    "choose": Command(
        _choices, lambda found: found.as_json(), arguments=("long",), other_flags=("choices", "text_b")
    ),
    "answer": Command(
        _pair,
        lambda found: {"answer": found.text, "score": found.score, "null_score": found.null_score},
        arguments=("no_answer",),
        other_flags=("text_b",),
        fields=("question", "context"),
        form="squad",
        suffixes=(".json",),
    ),
}
