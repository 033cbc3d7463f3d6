"""Runs one point of a sweep in a process of its own.

    python -m fnet_jax.tools.sweep.run_point --directory=D

trains as D/point.json says and leaves D/result.json. `tools/sweep/run.py` starts it: a point that crashes
takes nothing with it, and afterwards its memory and its devices are free.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli
from fnet_jax.tools.sweep.point import POINT_FILE, load_config, load_result, predictions_file, save_result


def train_and_evaluate(directory: str) -> int:
    """Runs the point in `directory`; returns the exit code of training."""
    config = load_config(directory)
    begin = time.monotonic()

    from fnet_jax.train.evaluate import evaluate_checkpoint
    from fnet_jax.train.logs.results import without_nan
    from fnet_jax.train.loop import train

    code = train(config, directory)
    if code == 0:
        values = without_nan(evaluate_checkpoint(config, directory))
        save_result(directory, 0, time.monotonic() - begin, "", values)
    return code


def predict(directory: str, task: str, splits: Sequence[str]) -> None:
    """Leaves the answers for splits without labels in the files of `predictions_file`.

    Args:
        directory: of a point that is done.
        task: its own, or another one with the same labels.
        splits: of that task.
    """
    result = load_result(directory)
    if result is None or not result.is_done:
        raise UserError(f"--directory={directory} holds no finished run; run the sweep first")

    from fnet_jax.train.evaluate import evaluate_checkpoint, on_task

    config = on_task(load_config(directory), task)
    evaluate_checkpoint(config, directory, result.values["step"], splits, write_predictions=True)
    for split in splits:
        made = os.path.join(directory, f"predictions-{task}-{split}.jsonl")
        os.replace(made, predictions_file(directory, task, split))


def _stop_with_parent() -> None:
    """Stops this process by SIGTERM, so that it saves, when the one that holds its stdin has gone."""

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
        _stop_with_parent()
    if flag.predict:
        predict(directory, flag.predict, flag.splits)
        return 0
    return train_and_evaluate(directory)


if __name__ == "__main__":
    flags.DEFINE_string("directory", None, "Folder of the point.")
    flags.DEFINE_string("predict", None, "Do not train; predict --splits of this task.")
    flags.DEFINE_list("splits", [], "What to predict.")
    flags.DEFINE_bool("stop_with_parent", False, "Stop as by SIGTERM when stdin is closed.")
    cli.run(main)
