"""The commands of `tools.predict`: what each takes from a record, asks of the model, and writes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.inference import jobs, task_jobs
from fnet_jax.inference.jobs import Job, Parts
from fnet_jax.inference.texts import Long
from fnet_jax.tasks.files.reader import scalar
from fnet_jax.tasks.table import TASKS

Fields = Mapping[str, Any]


class Options(NamedTuple):
    """Of all commands, each of which heeds its own.

    Attributes:
        text: name of the field with the text.
        text_b: name of the field with the second text; "" for single texts.
        choices: names of the fields with the texts to choose from, or of one with a list of them.
        long: what becomes of long texts.
        top_k: guesses per [MASK].
        per_position: vectors of positions, not of texts.
        no_answer: a question may have none.
        hf_mask_spacing: what follows [MASK] begins a new word.
    """

    text: str
    text_b: str = ""
    choices: tuple[str, ...] = ()
    long: Long = "cut"
    top_k: int = 5
    per_position: bool = False
    no_answer: bool = False
    hf_mask_spacing: bool = False


@dataclasses.dataclass(frozen=True)
class Command:
    """One of them.

    Attributes:
        job: what is asked.
        item: what it is asked about, from the fields of a record; a UserError says why that cannot be.
        answer: fields to write, as JSON has them; vectors are arrays.
        fields: names of the fields with text and second text; None: those that the model was trained on.
    """

    job: Callable[[Parts, Options], Job[Any, Any]]
    item: Callable[[Fields, Options], Any]
    answer: Callable[[Any], dict[str, Any]]
    fields: tuple[str, str] | None = None

    def trained_on(self, config: Config) -> Options:
        """The options by default."""
        names = self.fields or (config.data.text_field, config.data.text_b_field)
        task = TASKS.get(config.task)
        if not self.fields and task and task.columns:
            names = task.columns.text, task.columns.text_b
        return Options(*names, choices=config.data.choice_fields)


def _text(fields: Fields, options: Options) -> str:
    text = _field(fields, options.text)
    if not text.strip():
        raise UserError(f"empty text ({options.text})")
    return text


def _pair(fields: Fields, options: Options) -> tuple[str, str]:
    pair = _field(fields, options.text), _field(fields, options.text_b)
    if not any(text.strip() for text in pair):
        raise UserError(f"empty texts ({options.text} and {options.text_b})")
    return pair


def _text_or_pair(fields: Fields, options: Options) -> str | tuple[str, str]:
    return _pair(fields, options) if options.text_b else _text(fields, options)


def _words(fields: Fields, options: Options) -> list[str]:
    value = fields.get(options.text)
    if isinstance(value, list):
        return [scalar(options.text, word) for word in value]
    return _text(fields, options).split()


def _choices(fields: Fields, options: Options) -> tuple[str, list[str]]:
    found = fields.get(options.choices[0]) if len(options.choices) == 1 else None
    values = found if isinstance(found, list) else [_field(fields, name) for name in options.choices]
    choices = [scalar(options.choices[0], value) for value in values]
    if options.text_b:
        start = _field(fields, options.text_b)
        choices = [f"{start} {choice}".strip() for choice in choices]
    return _text(fields, options), choices


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise UserError(f"no field {name!r}; it has {', '.join(map(repr, fields))}")
    return scalar(name, fields[name])


def _guesses(masks: Sequence[Sequence[jobs.Guess]]) -> dict[str, Any]:
    return {"guesses": [[guess.as_json() for guess in guesses] for guesses in masks]}


def _tags(tags: Sequence[task_jobs.Tag]) -> dict[str, Any]:
    return {"words": [tag.word for tag in tags], "tags": [tag.tag for tag in tags]}


COMMANDS = {
    "fill-mask": Command(
        lambda parts, o: jobs.FillMask(parts, o.top_k, o.long, o.hf_mask_spacing), _text, _guesses
    ),
    "classify": Command(
        lambda parts, o: jobs.Classify(parts, o.long), _text_or_pair, lambda found: found.as_json()
    ),
    "encode": Command(
        lambda parts, o: jobs.Encode(parts, o.per_position, o.long),
        _text_or_pair,
        lambda vector: {"vector": vector},
    ),
    "next-sentence": Command(
        lambda parts, o: jobs.NextSentence(parts, o.long),
        _pair,
        lambda probability: {"probability": round(probability, 6)},
        ("text", "text_b"),
    ),
    "tag": Command(lambda parts, o: task_jobs.Tags(parts), _words, _tags),
    "choose": Command(
        lambda parts, o: task_jobs.Choose(parts, o.long), _choices, lambda found: found.as_json()
    ),
    "answer": Command(
        lambda parts, o: task_jobs.Span(parts, o.no_answer),
        _pair,
        lambda found: {"answer": found.text, "score": found.score, "null_score": found.null_score},
        ("question", "context"),
    ),
}
