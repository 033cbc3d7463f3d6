"""Draws and sums up a run: python -m fnet_jax.tools.report --workdir=W writes W/loss.png."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CHECKPOINT_DIR, saved_config
from fnet_jax.runtime import cli
from fnet_jax.tools.figure import plt
from fnet_jax.tools.markdown import is_loss
from fnet_jax.train.logs.results import EVAL_FILE, ROWS, read_results
from fnet_jax.train.logs.writers import METRICS_FILE, TENSORBOARD_DIR, read_jsonl

PLOT_FILE = "loss.png"


def draw(workdir: str) -> str:
    """Draws losses and scores over the steps, those of the baseline as dashed lines.

    Returns:
        The path of the PNG.

    Raises:
        UserError: if the run has no metrics yet.
    """
    rows = read_jsonl(workdir)
    if not rows:
        raise UserError(f"--workdir={workdir} has no {METRICS_FILE}; train there first")
    results = read_results(workdir)
    figure, (losses, scores) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for name, (label, _) in ROWS.items():
        if label.startswith(" "):  # a detail of another
            continue
        axes, scale = (losses, 1.0) if is_loss(name) else (scores, 100.0)
        _curves(axes, rows, name, label, scale, results[-1].get(f"baseline_{name}") if results else None)
    for axes, label in ((losses, "loss"), (scores, "score (%)")):
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if axes.lines:
            axes.legend(fontsize=8)
    scores.set_ylim(top=102)  # a line at 100 % can be seen
    figure.suptitle(_title(workdir))
    path = os.path.join(workdir, PLOT_FILE)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _curves(
    axes: Any, rows: list[dict[str, Any]], name: str, label: str, scale: float, baseline: float | None
) -> None:
    """One metric: training as a thin line, evaluations as points on a line, both of one colour."""
    colour = f"C{len({line.get_color() for line in axes.lines})}"
    for split, style in (("train", {"alpha": 0.5}), ("eval", {"marker": "o", "markersize": 3})):
        points = [
            (row["step"], row[name]) for row in rows if row["split"] == split and row.get(name) is not None
        ]
        if points:
            steps, values = np.array(points).T
            shown = f"{label}, {'held out' if split == 'eval' else 'training'}"
            axes.plot(steps, values * scale, color=colour, label=shown, **style)
    if baseline is not None and np.isfinite(baseline):
        axes.axhline(baseline * scale, color=colour, linestyle="--", label=f"{label}, baseline")


def _title(workdir: str) -> str:
    config = saved_config(workdir)
    if config is None:
        return ""
    model = config.model
    return (
        f"{config.task}: {model.mixer}, {model.num_layers} layers, width {model.d_model}, "
        f"length {model.max_seq_length}, batch {config.train.train_batch_size}"
    )


def summary(workdir: str) -> str:
    """Speed of the run and where its files lie."""
    speeds = [row["tokens_per_second"] for row in read_jsonl(workdir) if "tokens_per_second" in row]
    rows = [f"training speed: {np.median(speeds):,.0f} tokens/s (median)"] if speeds else []
    files = {
        "checkpoints": CHECKPOINT_DIR,
        "metrics": METRICS_FILE,
        "evaluations": EVAL_FILE,
        "TensorBoard": TENSORBOARD_DIR,
        "loss curve": PLOT_FILE,
    }
    return "\n".join(
        [*rows, *(f"{label + ':':15s} {os.path.join(workdir, name)}" for label, name in files.items())]
    )


def main(argv: Sequence[str]) -> None:
    """Draws, and prints the summary."""
    del argv
    if not flags.FLAGS.workdir or not os.path.isdir(flags.FLAGS.workdir):
        raise UserError(f"--workdir={flags.FLAGS.workdir} is no folder; name the folder of a run")
    draw(flags.FLAGS.workdir)
    print(summary(flags.FLAGS.workdir))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    cli.run(main)
