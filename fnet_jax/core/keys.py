"""How a key of the config is declared, and how all of them are listed.

    learning_rate: float = key(1e-4, "at the end of the warm-up", POSITIVE)

is a field of a frozen dataclass: its type, its default, its meaning and what its values must be.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Rule(NamedTuple):
    """What a value must be."""

    words: str  # they follow "must be"
    holds: Callable[[Any], bool]


POSITIVE = Rule("greater than 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
BELOW_ONE = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
SHARE = Rule("greater than 0 and below 1", lambda value: 0 < value < 1)
SIZE = Rule("2**24 or less", lambda value: value <= 2**24)  # else shapes of a hostile file overflow


def key(default: T, meaning: str, *rules: Rule) -> T:
    """A field of a config dataclass.

    Args:
        default: of the type that the field is annotated with.
        meaning: one line; `docs/config.md` shows it.
        *rules: what each value must be.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, "rules": rules})


class Key(NamedTuple):
    """One key as it was declared."""

    name: str  # dotted, such as "model.d_model"
    type: Any
    default: Any
    meaning: str
    rules: tuple[Rule, ...]

    def of(self, config: Any) -> Any:
        """Its value in a config."""
        return functools.reduce(getattr, self.name.split("."), config)

    @property
    def valid(self) -> str:
        """The values it may have, in words; nothing where any value of the type will do."""
        if typing.get_origin(self.type) is Literal:
            return ", ".join(typing.get_args(self.type))
        return ", ".join(rule.words for rule in self.rules)


def declared(section: type, prefix: str = "") -> Iterator[Key]:
    """All keys of a config dataclass and of the sections in it, in order."""
    types = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        name, kind = prefix + field.name, types[field.name]
        if dataclasses.is_dataclass(kind):
            yield from declared(typing.cast(type, kind), name + ".")
        else:
            yield Key(name, kind, field.default, field.metadata["meaning"], field.metadata["rules"])
