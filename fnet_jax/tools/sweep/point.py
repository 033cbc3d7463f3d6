"""One point of a sweep: a run in a folder and a process of its own, and what came out.

    python -m fnet_jax.tools.sweep.point --directory=D

trains as D/point.json says and leaves D/result.json. `tools/sweep/run.py` starts this; a point that
crashes takes nothing with it, and its memory and its devices are free afterwards.
"""

import dataclasses
import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Sequence
from typing import Any

import ml_collections
from absl import flags

from fnet_jax.core import config_dict
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.core.sweep import Overrides, point_name
from fnet_jax.runtime import cli
from fnet_jax.train.concrete import make_config

POINT_FILE = "point.json"
RESULT_FILE = "result.json"
LOG_FILE = "log.txt"
LOCK_FILE = ".lock"
OWN_FILES = {POINT_FILE, RESULT_FILE, LOG_FILE, LOCK_FILE}


@dataclasses.dataclass(frozen=True)
class Point:
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


@dataclasses.dataclass(frozen=True)
class Result:
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


def make_point(
    config: ml_collections.ConfigDict, fixed: Collection[str], overrides: Overrides, directory: str
) -> Point:
    """Puts a point's values into the config.

    Args:
        config: with what is common to all points; stays as it is.
        fixed: dotted keys that the user set for all points.
        overrides: dotted keys of this point.
        directory: workdir of this point.

    Raises:
        UserError: if the config cannot work, naming the point.
    """
    own = config.copy_and_resolve_references()
    try:
        own.update_from_flattened_dict(overrides)
        made = make_config(own, [*fixed, *overrides])
    except (TypeError, ValueError) as error:
        raise UserError(f"point {point_name(overrides)}: {error}") from error
    return Point(overrides, made, directory)


def fingerprint(config: dict[str, Any]) -> str:
    """Hash of a config as JSON has it."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def claim(point: Point) -> None:
    """Writes down which config runs in this folder.

    Raises:
        UserError: if the folder holds work of another config.
    """
    check_unchanged(point)
    os.makedirs(point.directory, exist_ok=True)
    if _saved(point) is None:
        content = {"overrides": point.overrides, "config": config_dict.to_dict(point.config)}
        write_atomically(point.path(POINT_FILE), json.dumps(content, indent=2).encode())


def check_unchanged(point: Point) -> None:
    """Refuses a folder that holds work of another config.

    Raises:
        UserError: naming what is different.
    """
    saved = _read(point.path(POINT_FILE))
    if saved is None or _saved(point) is not None:
        return
    result = load_result(point.directory)
    if set(os.listdir(point.directory)) <= OWN_FILES and not (result and result.is_done):
        return  # it failed before there was anything to lose
    changes = config_dict.differences(_parse(saved["config"]), point.config)
    more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
    raise UserError(
        f"{point.directory} was begun with another config: {', '.join(changes[:3])}{more}; "
        "give another --workdir, or delete that folder"
    )


def result_of(point: Point) -> Result | None:
    """The result of this very config, done or failed, or None."""
    result, saved = load_result(point.directory), _saved(point)
    return result if result and saved and result.fingerprint == fingerprint(saved["config"]) else None


def save_result(directory: str, exit_code: int, seconds: float, error: str, values: dict[str, Any]) -> None:
    """Leaves `result.json`, whole or not at all."""
    point = _read(os.path.join(directory, POINT_FILE))
    assert point is not None
    mark = fingerprint(point["config"])
    result = Result(point["overrides"], mark, exit_code, round(seconds, 1), error, values)
    content = json.dumps(dataclasses.asdict(result), indent=2) + "\n"
    write_atomically(os.path.join(directory, RESULT_FILE), content.encode())


def load_result(directory: str) -> Result | None:
    """The result in a folder, whatever config it belongs to."""
    values = _read(os.path.join(directory, RESULT_FILE))
    return Result(**values) if values else None


def last_line(path: str) -> str:
    """The last line of a log that says something."""
    if not os.path.exists(path):
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 4096))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _saved(point: Point) -> dict[str, Any] | None:
    """What point.json says, if its config is this point's."""
    saved = _read(point.path(POINT_FILE))
    return saved if saved and _parse(saved["config"]) == point.config else None


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


def run(directory: str) -> int:
    """Trains and evaluates the point in `directory`; returns the exit code of training."""
    config = _config(directory)
    begin = time.monotonic()

    from fnet_jax.train.evaluate import evaluate_checkpoint
    from fnet_jax.train.loop import train

    code = train(config, directory)
    if code == 0:
        values = {name: _finite(value) for name, value in evaluate_checkpoint(config, directory).items()}
        save_result(directory, 0, time.monotonic() - begin, "", values)
    return code


def predict(directory: str, task: str, splits: Sequence[str]) -> None:
    """Leaves what the point says of splits without labels, in the files of `predictions_file`.

    Args:
        directory: of a point that is done.
        task: its own, or another one with the same labels.
        splits: of that task.
    """
    result = load_result(directory)
    if result is None or not result.is_done:
        raise UserError(f"--directory={directory} holds no finished run; run the sweep first")

    from fnet_jax.train.evaluate import evaluate_checkpoint, on_task

    config = on_task(_config(directory), task)
    evaluate_checkpoint(config, directory, result.values["step"], splits, write_predictions=True)
    for split in splits:
        made = os.path.join(directory, f"predictions-{task}-{split}.jsonl")
        os.replace(made, predictions_file(directory, task, split))


def predictions_file(directory: str, task: str, split: str) -> str:
    """Not the file that `eval.py` writes, for that may be of any step."""
    return os.path.join(directory, f"submission-{task}-{split}.jsonl")


def _config(directory: str) -> Config:
    point = _read(os.path.join(directory, POINT_FILE))
    if point is None:
        raise UserError(
            f"--directory={directory} holds no {POINT_FILE}; python -m fnet_jax.tools.sweep makes it"
        )
    return _parse(point["config"])


def _finite(value: Any) -> Any:
    """JSON has no nan: null in its place."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stop_with_parent() -> None:
    """Stops this process, saving what is to be saved, when the one that holds its stdin is gone."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read: its lock would be held when Python ends
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: Sequence[str]) -> int:
    """Runs one point, or predicts with one that is done."""
    del argv
    flag = flags.FLAGS
    if not flag.directory:
        raise UserError(f"--directory is not given; name a folder with a {POINT_FILE}")
    directory = os.path.abspath(flag.directory)
    if flag.stop_with_parent:
        stop_with_parent()
    if flag.predict:
        predict(directory, flag.predict, flag.splits)
        return 0
    return run(directory)


if __name__ == "__main__":
    flags.DEFINE_string("directory", None, "Folder of the point.")
    flags.DEFINE_string("predict", None, "Do not train; predict --splits of this task.")
    flags.DEFINE_list("splits", [], "What to predict.")
    flags.DEFINE_bool("stop_with_parent", False, "Stop as by SIGTERM when stdin is closed.")
    cli.run(main)
