"""A sweep is a list of points; a point is a dict of dotted config keys and their values.

A config file may define `get_sweep` beside `get_config`, written with the four functions below:

    def get_sweep():
        return sweep.product(
            sweep.values("optim.learning_rate", [1e-5, 5e-5, 1e-4]),
            sweep.values("seed", range(3)),
        )
"""

import hashlib
import importlib.util
import inspect
import itertools
import re
import types
from collections.abc import Collection, Iterable
from typing import Any

from fnet_jax.core.config_dict import unknown_key
from fnet_jax.core.errors import UserError

Overrides = dict[str, Any]
Sweep = list[Overrides]

LONGEST_NAME = 150  # file systems take 255 bytes


def values(key: str, choices: Iterable[Any]) -> Sweep:
    """One point per choice of one key.

    Raises:
        UserError: if no choice is given.
    """
    sweep = [{key: choice.item() if hasattr(choice, "item") else choice} for choice in choices]
    if not sweep:
        raise UserError(f"the sweep over {key} has no values; give at least one")
    return sweep


def product(*sweeps: Sweep) -> Sweep:
    """Every point of the first with every point of the second, and so on; the last one varies fastest.

    Raises:
        UserError: if two of them set one key.
    """
    return [_merge(points) for points in itertools.product(*sweeps)]


def zip_(*sweeps: Sweep) -> Sweep:
    """The first point of each together, the second of each together, and so on.

    Raises:
        UserError: if their lengths differ, or if two of them set one key.
    """
    lengths = [len(sweep) for sweep in sweeps]
    if len(set(lengths)) > 1:
        keys = " and ".join(f"{', '.join(sweep[0])} ({len(sweep)})" for sweep in sweeps if sweep)
        raise UserError(f"sweep.zip_ needs sweeps of one length, but their numbers of points differ: {keys}")
    return [_merge(points) for points in zip(*sweeps, strict=True)]


def chain(*sweeps: Sweep) -> Sweep:
    """All points of the first, then all of the second, and so on."""
    return [dict(point) for sweep in sweeps for point in sweep]


def _merge(points: Iterable[Overrides]) -> Overrides:
    merged: Overrides = {}
    for point in points:
        for key in point:
            if key in merged:
                raise UserError(f"two sweeps that are combined both set {key}; leave it out of one")
        merged |= point
    return merged


def load(path: str) -> Sweep:
    """The sweep of a config file.

    Args:
        path: as `--config`, with or without an argument after a colon. `get_sweep` gets the argument if
            it takes one.

    Raises:
        UserError: if the file defines no sweep.
    """
    file, colon, arg = path.partition(":")
    module = load_module(file)
    if not hasattr(module, "get_sweep"):
        raise UserError(f"--config={file} defines no get_sweep(); docs/sweeps.md shows how to write one")
    takes_arg = bool(colon and inspect.signature(module.get_sweep).parameters)
    return module.get_sweep(arg) if takes_arg else module.get_sweep()


def load_module(file: str) -> types.ModuleType:
    """A config file as a module.

    Raises:
        UserError: if it is no Python file.
    """
    spec = importlib.util.spec_from_file_location("sweep_config", file)
    if spec is None or spec.loader is None:
        raise UserError(f"--config={file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(sweep: Sweep, fixed: Collection[str] = ()) -> None:
    """Refuses a sweep that must be a mistake.

    Args:
        sweep: what `get_sweep` returned.
        fixed: dotted keys that are set for all points.

    Raises:
        UserError: for no points, something that is no point, an unknown or fixed key, a point that
            occurs twice.
    """
    if not isinstance(sweep, list) or not all(isinstance(point, dict) for point in sweep):
        raise UserError("get_sweep() must return a list of dicts, such as [{'seed': 0}, {'seed': 1}]")
    if not sweep:
        raise UserError("get_sweep() returned no points; give at least one")
    for index, point in enumerate(sweep):
        for key in point:
            if complaint := unknown_key(key):
                raise UserError(f"get_sweep(): {complaint}")
            if key in fixed:
                raise UserError(f"--config.{key} is set, but get_sweep() varies {key}; leave one out")
        if point in sweep[:index]:
            raise UserError(
                f"get_sweep() returned the same point twice: {point_name(point)} "
                f"(points {sweep.index(point) + 1} and {index + 1})"
            )


def varying(sweep: Sweep) -> list[str]:
    """The keys that do not have one and the same value in all points, in order of appearance."""
    keys = list(dict.fromkeys(key for point in sweep for key in point))
    return [key for key in keys if any(_get(point, key) != _get(sweep[0], key) for point in sweep)]


def _get(point: Overrides, key: str) -> tuple[bool, Any]:
    return key in point, point.get(key)


def point_name(overrides: Overrides) -> str:
    """A name fit for a folder, the same wherever in a sweep the point stands.

    Values that do not fit into a file name are cut and told apart by a hash.
    """
    name = ",".join(f"{key}={_file_name(format_value(value))}" for key, value in overrides.items())
    name = name or "defaults"
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{_hash(name)}"


def format_value(value: Any) -> str:
    """The shortest text that is the same value: 5e-05, 3, fourier."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def _file_name(text: str) -> str:
    clean = re.sub(r"[^\w.+-]", "_", text)
    return text if clean == text else f"{clean[-30:].lstrip('_')}-{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
