"""The commands of `tools/predict.py`: what each takes from a record, asks of the model, and writes."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fnet_jax.bridge import jobs
from fnet_jax.bridge.jobs import Job, Parts
from fnet_jax.bridge.texts import Long
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.data.glue_files import LAYOUTS
from fnet_jax.data.records import scalar

Fields = Mapping[str, Any]


class Options(NamedTuple):
    """For all commands, each of which heeds its own.

    Attributes:
        text: name of the field with the text.
        text_b: name of the field with the second text; "" for single texts.
        long: what becomes of long texts.
        top_k: guesses per [MASK].
        per_position: vectors of positions, not of texts.
    """

    text: str
    text_b: str
    long: Long
    top_k: int = 5
    per_position: bool = False


@dataclasses.dataclass(frozen=True)
class Command:
    """One of them.

    Attributes:
        job: what is asked.
        item: what is asked about, from the fields of a record; a UserError says why that cannot be.
        answer: fields to write, as JSON has them; vectors are arrays.
        names: of the fields with text and second text, if neither flags nor config say.
    """

    job: Callable[[Parts, Options], Job[Any, Any]]
    item: Callable[[Fields, Options], Any]
    answer: Callable[[Any], dict[str, Any]]
    names: tuple[str, str] = ("text", "")


def text_fields(command: Command, config: Config, text: str | None, text_b: str | None) -> tuple[str, str]:
    """The names of the fields with text and second text: as given, or those that the model was trained on."""
    default = command.names
    if default == ("text", "") and config.task in LAYOUTS:
        default = (LAYOUTS[config.task].text, LAYOUTS[config.task].text_b)
    elif default == ("text", ""):
        default = (config.data.text_field, config.data.text_b_field)
    return text or default[0], default[1] if text_b is None else text_b


def _text(fields: Fields, options: Options) -> str:
    text = _field(fields, options.text)
    if not text.strip():
        raise UserError(f"empty text ({options.text})")
    return text


def _text_or_pair(fields: Fields, options: Options) -> str | tuple[str, str]:
    return _pair(fields, options) if options.text_b else _text(fields, options)


def _pair(fields: Fields, options: Options) -> tuple[str, str]:
    pair = _field(fields, options.text), _field(fields, options.text_b)
    if not any(text.strip() for text in pair):
        raise UserError(f"empty texts ({options.text} and {options.text_b})")
    return pair


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise UserError(f"no field {name!r}; it has {', '.join(map(repr, fields))}")
    return scalar(name, fields[name])


def _guesses(masks: list[list[jobs.Guess]]) -> dict[str, Any]:
    return {
        "guesses": [[{"piece": g.piece, "probability": round(g.probability, 6)} for g in m] for m in masks]
    }


COMMANDS = {
    "fill-mask": Command(lambda parts, o: jobs.FillMask(parts, o.top_k, o.long), _text, _guesses),
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
}
