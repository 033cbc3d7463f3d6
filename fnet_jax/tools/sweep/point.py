"""A point of a sweep: its folder, which config runs there, and what came out.

The folder is the workdir of one training run. `point.json` says what to run, `result.json` how it ended.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Collection
from typing import Any

import ml_collections

from fnet_jax.core import config_dict
from fnet_jax.core import sweep as sweep_lib
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.core.sweep import Overrides, point_name
from fnet_jax.train.concrete import make_config

POINT_FILE = "point.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"
LOCK_FILE = ".lock"
_OWN_FILES = {POINT_FILE, RESULT_FILE, LOG_FILE, LOCK_FILE}
POINTS_DIR = "points"
DATA_DIR = "data"


@dataclasses.dataclass(frozen=True)
class PointResult:
    """How a point ended.

    Attributes:
        overrides: of the point.
        fingerprint: of the config that was run.
        exit_code: 0 done, anything else failed; negative: killed by that signal.
        seconds: that the last start took.
        error: the last line of the log of a failed point.
        values: what `evaluate_checkpoint` gave; empty for a failed point.
    """

    overrides: Overrides
    fingerprint: str
    exit_code: int
    seconds: float
    error: str = ""
    values: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.exit_code == 0


@dataclasses.dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep.

    Attributes:
        overrides: the dotted keys that this point sets, and their values.
        config: of the run.
        directory: its workdir.
    """

    overrides: Overrides
    config: Config
    directory: str

    @property
    def name(self) -> str:
        """For a person, and the name of the folder."""
        return point_name(self.overrides)

    def path(self, file: str) -> str:
        """A file of this point."""
        return os.path.join(self.directory, file)

    def result(self) -> PointResult | None:
        """How a run of this very config ended; None if there was none."""
        result, saved = load_result(self.directory), self._saved()
        return result if result and saved and result.fingerprint == fingerprint(saved["config"]) else None

    def done_result(self) -> PointResult | None:
        """The result, if nothing is left to do."""
        result = self.result()
        return result if result and result.is_done else None

    def check_unchanged(self) -> None:
        """Refuses a folder that holds work of another config.

        Raises:
            UserError: naming what is different.
        """
        saved = _read(self.path(POINT_FILE))
        if saved is None or self._saved() is not None:
            return
        result = load_result(self.directory)
        if set(os.listdir(self.directory)) <= _OWN_FILES and not (result and result.is_done):
            return  # it failed before there was anything to lose
        changes = config_dict.differences(_parse(saved["config"]), self.config)
        more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
        raise UserError(
            f"{self.directory} was begun with another config: {', '.join(changes[:3])}{more}; "
            "give another --workdir, or delete that folder"
        )

    def claim(self) -> None:
        """Writes down that this config runs in the folder.

        Raises:
            UserError: if the folder holds work of another config.
        """
        self.check_unchanged()
        os.makedirs(self.directory, exist_ok=True)
        if self._saved() is None:
            content = {"overrides": self.overrides, "config": config_dict.to_dict(self.config)}
            write_atomically(self.path(POINT_FILE), json.dumps(content, indent=2))

    def _saved(self) -> dict[str, Any] | None:
        """What point.json says, if its config is this point's."""
        saved = _read(self.path(POINT_FILE))
        return saved if saved and _parse(saved["config"]) == self.config else None


def make_points(
    sweep: sweep_lib.Sweep, config: ml_collections.ConfigDict, fixed: Collection[str], workdir: str
) -> list[SweepPoint]:
    """All points with their configs and folders; those of pretraining share their data sets.

    Args:
        sweep: a dict of overrides per point.
        config: with what is common to all points; stays as it is.
        fixed: dotted keys that the user set for all points.
        workdir: of the sweep.

    Raises:
        UserError: if the sweep or the config of a point cannot work.
    """
    sweep_lib.check(sweep, fixed)
    folder = os.path.join(workdir, POINTS_DIR)
    made = [make_point(config, fixed, point, os.path.join(folder, point_name(point))) for point in sweep]
    return [dataclasses.replace(point, config=_share_data(point.config, workdir)) for point in made]


def make_point(
    config: ml_collections.ConfigDict, fixed: Collection[str], overrides: Overrides, directory: str
) -> SweepPoint:
    """One point, in the folder `directory`; the other arguments and errors are those of `make_points`."""
    own = config.copy_and_resolve_references()
    try:
        own.update_from_flattened_dict(overrides)
        made = make_config(own, [*fixed, *overrides])
    except (TypeError, ValueError) as error:
        raise UserError(f"point {point_name(overrides)}: {error}") from error
    return SweepPoint(overrides, made, directory)


def _share_data(config: Config, workdir: str) -> Config:
    """Puts the data set where every point that needs the same one looks for it."""
    if not config.is_pretraining or config.data.dir:
        return config
    data = config.data
    made_of = {
        "corpus": data.corpus,
        "text_field": data.text_field,
        "tokenizer": data.tokenizer or [data.tokenizer_pieces, data.tokenizer_algorithm],
        "holdout_fraction": data.holdout_fraction,
        "max_seq_length": config.model.max_seq_length,
    }
    directory = os.path.join(workdir, DATA_DIR, fingerprint(made_of))
    return dataclasses.replace(config, data=dataclasses.replace(data, dir=directory))


def fingerprint(config: dict[str, Any]) -> str:
    """Hash of a config as JSON has it."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def load_config(directory: str) -> Config:
    """The config that is to run in a folder."""
    saved = _read(os.path.join(directory, POINT_FILE))
    if saved is None:
        raise UserError(
            f"--directory={directory} holds no {POINT_FILE}; python -m fnet_jax.tools.sweep makes it"
        )
    return _parse(saved["config"])


def save_result(directory: str, exit_code: int, seconds: float, error: str, values: dict[str, Any]) -> None:
    """Leaves `result.json`, whole or not at all."""
    saved = _read(os.path.join(directory, POINT_FILE))
    assert saved is not None
    mark = fingerprint(saved["config"])
    result = PointResult(saved["overrides"], mark, exit_code, round(seconds, 1), error, values)
    content = json.dumps(dataclasses.asdict(result), indent=2) + "\n"
    write_atomically(os.path.join(directory, RESULT_FILE), content)


def load_result(directory: str) -> PointResult | None:
    """The result in a folder, whatever config it belongs to."""
    values = _read(os.path.join(directory, RESULT_FILE))
    return PointResult(**values) if values else None


def predictions_file(directory: str, task: str, split: str) -> str:
    """What a point predicts of a split; not the file of `eval.py`, which may be of any step."""
    return os.path.join(directory, f"submission-{task}-{split}.jsonl")


def _parse(config: dict[str, Any]) -> Config:
    """A config from JSON; keys that it does not have yet get their defaults."""
    return config_dict.from_dict(config, fill_up=True)


def _read(path: str) -> dict[str, Any] | None:
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} is not valid JSON ({error}); delete {os.path.dirname(path)}") from error
