"""From a config file's ConfigDict or a workdir's JSON to a checked `Config`, and back.

Unknown and missing keys, wrong types and values that cannot work are refused in one sentence.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, Literal

import ml_collections

from fnet_jax.core.checks import check, check_has_effect
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.keys import declared


def parse(config: ml_collections.ConfigDict, overrides: Collection[str] = ()) -> Config:
    """Turns a ConfigDict into the typed, checked `Config`.

    Args:
        config: with exactly the keys of `Config`.
        overrides: dotted keys that the user set by hand; one that has no effect is refused.

    Raises:
        UserError: naming the key, its value and what would be valid.
    """
    parsed = from_dict(config.to_dict())
    for key in overrides:
        check_has_effect(parsed, key)
    return parsed


def to_dict(config: Config) -> dict[str, Any]:
    """The config as nested plain dicts, ready for JSON."""
    return dataclasses.asdict(config)


def flat(config: Config) -> dict[str, Any]:
    """The config as one dict from dotted key to value."""
    return {key.name: key.of(config) for key in declared(Config)}


def from_dict(values: Mapping[str, Any], fill_up: bool = False) -> Config:
    """The inverse of `to_dict`, with the checks of `parse`.

    Args:
        values: nested dicts.
        fill_up: whether keys that are missing get their defaults; otherwise they are an error.
    """
    parsed: Config = _section(Config, values, "", fill_up)
    check(parsed)
    return parsed


def unknown_key(key: str) -> str:
    """A sentence that names the closest keys if no config declares the dotted `key`, or nothing."""
    cls: Any = Config
    done: list[str] = []
    for name in key.split("."):
        hints = typing.get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
        if name not in hints:
            prefix = "".join(part + "." for part in done)
            return f"config key {prefix}{name} is unknown; {closest(name, hints)}"
        done.append(name)
        cls = hints[name]
    return ""


def differences(old: Config, new: Config) -> list[str]:
    """One line "key: old -> new" per key whose value differs."""
    before, after = flat(old), flat(new)
    return [f"{key}: {before[key]!r} -> {after[key]!r}" for key in after if before[key] != after[key]]


def parse_arg(arg: str, *, choices: Mapping[str, Collection[str]] | None = None, **defaults: Any) -> Any:
    """Parses the text after the colon of `--config=file.py:arg`.

    Args:
        arg: comma-separated `key=value`; a bare `key` sets a boolean.
        choices: valid values of some keys.
        **defaults: the keys with their default values; their types are the types expected.

    Returns:
        A namespace with one attribute per key of `defaults`.

    Raises:
        UserError: for an unknown key, a value of the wrong type or outside `choices`.
    """
    values = dict(defaults)
    for item in filter(None, arg.split(",")):
        key, has_value, text = item.partition("=")
        if key not in defaults:
            raise UserError(f"config argument {key!r} is unknown; {closest(key, defaults)}")
        kind = type(defaults[key])
        if kind is bool:
            text = text.lower() if has_value else "true"
            if text not in ("true", "false"):
                raise UserError(f"config argument {key}={text!r} must be true or false")
            values[key] = text == "true"
        else:
            try:
                values[key] = kind(text)
            except ValueError:
                raise UserError(f"config argument {key}={text!r} must be of type {kind.__name__}") from None
    for key, valid in (choices or {}).items():
        if values[key] not in valid:
            raise UserError(
                f"config argument {key}={values[key]!r} is unknown; {closest(values[key], valid)}"
            )
    return types.SimpleNamespace(**values)


def _section(cls: type, values: Mapping[str, Any], prefix: str, fill_up: bool) -> Any:
    """Builds one dataclass from its dict, checking names and types."""
    if not isinstance(values, Mapping):
        raise UserError(f"{prefix.rstrip('.')}={values!r} must be a section with keys")
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise UserError(f"config key {prefix}{key} is unknown; {closest(key, hints)}")
    fields = {}
    for name, hint in hints.items():
        key = prefix + name
        if name not in values and fill_up:
            continue
        if name not in values:
            raise UserError(f"config key {key} is missing; start from configs/base.py, which has it")
        if dataclasses.is_dataclass(hint):
            fields[name] = _section(typing.cast(type, hint), values[name], key + ".", fill_up)
        else:
            fields[name] = _value(key, values[name], hint)
    return cls(**fields)


def _value(key: str, value: Any, hint: Any) -> Any:
    """Checks one value against its type."""
    if typing.get_origin(hint) is Literal:
        valid = typing.get_args(hint)
        if value not in valid:
            raise UserError(f"{key}={value!r} is unknown; {closest(str(value), valid)}")
        return value
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise UserError(f"{key}={value!r} must be a tuple of strings, such as \"('no','yes')\"")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{key}={value!r} must be of type {hint.__name__}")
    return value


def closest(word: str, valid: Collection[str]) -> str:
    """ "did you mean X?" when something is close, the whole list otherwise."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    listing = f"valid: {', '.join(valid)}"
    return f"did you mean {close[0]}? ({listing})" if close else listing
