"""Where metrics go: JSONL and TensorBoard always, Weights & Biases by config, the console for people."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from tqdm import tqdm

from fnet_jax.core import jsonl
from fnet_jax.core.errors import UserError

METRICS_FILE = "metrics.jsonl"
TENSORBOARD_DIR = "tensorboard"


class Writer(Protocol):
    """Takes metrics; steps never go backwards, also not after a resume."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Records `values` of `split` ("train" or "eval") at `step`."""
        ...

    def close(self) -> None:
        """Flushes and closes."""
        ...


class JsonlWriter:
    """One JSON object per line: step, split, values. Lines after the resumed step are dropped."""

    def __init__(self, workdir: str, start_step: int):
        self._path = os.path.join(workdir, METRICS_FILE)
        jsonl.keep(self._path, lambda row: row["step"] <= start_step)
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115, closed in `close`

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Appends a line, on disk when this returns; a value that is no number becomes null."""
        row = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, "split": split, **row}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_jsonl(workdir: str) -> list[dict[str, Any]]:
    """The rows of a run's metrics, oldest first; a last line cut by a kill is left out."""
    return jsonl.read(os.path.join(workdir, METRICS_FILE))


class TensorBoardWriter:
    """Event files under WORKDIR/tensorboard, tags such as `train/loss`; on disk when `write` returns.

    tensorboardX's `SummaryWriter` writes in a thread whose failure nobody hears of.
    """

    def __init__(self, workdir: str, start_step: int):
        folder = os.path.join(workdir, TENSORBOARD_DIR)
        os.makedirs(folder, exist_ok=True)
        self._events = EventsWriter(os.path.join(folder, "events"))
        # Hides what another process has written of later steps.
        self._add(start_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Adds one scalar per value."""
        for name, value in values.items():
            self._add(step, summary=scalar(f"{split}/{name}", value))
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes the event file."""
        self._events.close()

    def _add(self, step: int, **what: Any) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, **what))


class WandbWriter:
    """Weights & Biases; the run id is kept in the workdir, so a resumed run goes on in its place."""

    def __init__(self, workdir: str, project: str, config: Mapping[str, Any]):
        wandb = import_wandb()
        path = os.path.join(workdir, "wandb_id")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                run_id = file.read().strip()
        else:
            run_id = wandb.util.generate_id()
            with open(path, "w", encoding="utf-8") as file:
                file.write(run_id)
        self._run = wandb.init(project=project, id=run_id, resume="allow", dir=workdir, config=dict(config))

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Logs the values under `split/name`."""
        self._run.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Finishes the run."""
        self._run.finish()


def import_wandb() -> Any:
    """The wandb module.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "log.wandb_project is set but wandb is not installed; pip install wandb, or set it to ''"
        ) from error
    return wandb


class ConsoleWriter:
    """A progress bar on a terminal, plain lines in a log."""

    def __init__(self, start_step: int, num_steps: int):
        self._bar = tqdm(
            total=num_steps,
            initial=start_step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )
        self._num_steps = num_steps

    def advance(self) -> None:
        """Moves the bar by one step."""
        self._bar.update()

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Prints one line, above the bar where there is one; nothing if none of the values is to be shown."""
        shown = "  ".join(
            f"{name} {format_value(name, value)}" for name, value in values.items() if name in SHOWN
        )
        if shown:
            self.say(f"{split:5s} {step:>{len(str(self._num_steps))}}/{self._num_steps}  {shown}")

    def say(self, text: str) -> None:
        """Prints a line without tearing the bar."""
        self._bar.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Leaves the bar as it stands."""
        self._bar.close()


# What a line on the console carries, with the format of each value.
SHOWN = {
    "loss": "{:.3f}",
    "masked_lm_accuracy": "{:.1%}",
    "next_sentence_accuracy": "{:.1%}",
    "accuracy": "{:.1%}",
    "f1": "{:.1%}",
    "matthews": "{:.3f}",
    "pearson": "{:.3f}",
    "spearman": "{:.3f}",
    "learning_rate": "{:.1e}",
    "grad_norm": "{:.2f}",
    "tokens_per_second": "{:,.0f}",
    "data_wait_share": "{:.0%}",
    "mfu": "{:.1%}",
    "skipped_steps": "{:.0f}",
    "eta_minutes": "{:.1f}",
}


def format_value(name: str, value: float) -> str:
    """The value as the console shows it."""
    return SHOWN.get(name, "{:.4f}").format(value)
