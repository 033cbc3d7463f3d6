"""Evaluation of a state on the held-out split."""

import json
import os
from collections.abc import Iterable
from typing import Any

import jax
from tqdm import tqdm

from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.train.baseline import UnigramBaseline
from fnet_jax.train.checkpoint import Checkpointer, resolve
from fnet_jax.train.metrics import HostSums, Variables, compute, merge, to_host
from fnet_jax.train.run import set_up
from fnet_jax.train.step import EvalStep

EVAL_FILE = "eval.jsonl"


def evaluate(eval_step: EvalStep, variables: Variables, batches: Iterable[Batch]) -> dict[str, float]:
    """Means over all batches, each example counted once.

    Batches are on the devices already; results are downloaded two batches late, so that the devices
    always have the next one.

    Returns:
        The task's metrics, and `loss`, the sum of masked LM loss and next sentence loss.
    """
    total: HostSums = {}
    pending = []
    for batch in batches:
        pending.append(eval_step(variables, batch))
        if len(pending) > 2:
            total = merge(total, to_host(pending.pop(0)))
    for sums in pending:
        total = merge(total, to_host(sums))
    values = compute(total)
    values["loss"] = values["masked_lm_loss"] + values["next_sentence_loss"]
    return values


def with_progress(batches: Iterable[Batch], total: int, text: str) -> Iterable[Batch]:
    """Shows a bar on a terminal while the batches are worked off."""
    return tqdm(batches, total=total, desc=text, unit="batch", leave=False, disable=None)


def evaluate_checkpoint(config: Config, workdir: str, step: int | None = None) -> dict[str, Any]:
    """Evaluates one checkpoint on the held-out split, beside the unigram baseline; changes nothing.

    Args:
        config: model and data; its model must be the checkpoint's.
        workdir: folder of the run.
        step: which checkpoint; the newest by default.

    Returns:
        `step`, the number of examples, the metrics, and the baseline's under `baseline_...`.

    Raises:
        UserError: if there is no such checkpoint, or it does not fit.
    """
    workdir, step = resolve(workdir, step)
    run = set_up(config, workdir)
    checkpointer = Checkpointer(workdir, read_only=True)
    variables = checkpointer.restore_variables(step, run.abstract.variables)
    checkpointer.close()
    batches, count = run.device_batches("heldout")
    with jax.set_mesh(run.mesh):
        values = evaluate(run.eval_step(), variables, with_progress(batches, count, "evaluate"))
    host_batches, _ = run.host_batches("heldout")
    baseline = UnigramBaseline.from_dataset(run.data_dir, run.config.data).evaluate(host_batches)
    return {"step": step, **values, **{f"baseline_{name}": value for name, value in baseline.items()}}


def table(values: dict[str, Any]) -> str:
    """The result for a person: a row per metric, the baseline beside it."""
    rows = [f"held-out split, step {values['step']}", f"{'':32s}{'model':>10s}{'baseline':>10s}"]
    for name, label in ROWS.items():
        base = values.get(f"baseline_{name}")
        show = "{:>10.1%}".format if name.endswith("accuracy") else "{:>10.3f}".format
        rows.append(f"{label:32s}{show(values[name])}{show(base) if base is not None else '':>10s}")
    return "\n".join(rows)


ROWS = {
    "masked_lm_accuracy": "masked LM accuracy",
    "masked_lm_loss": "masked LM loss (nats)",
    "mask_token_accuracy": "  at [MASK] alone: accuracy",
    "mask_token_loss": "  at [MASK] alone: loss (nats)",
    "next_sentence_accuracy": "next sentence accuracy",
    "next_sentence_loss": "next sentence loss (nats)",
}


def record(workdir: str, values: dict[str, Any]) -> str:
    """Appends the result to WORKDIR/eval.jsonl and returns it as one JSON line."""
    line = json.dumps(values)
    with open(os.path.join(workdir, EVAL_FILE), "a", encoding="utf-8") as file:
        file.write(line + "\n")
    return line


def read_results(workdir: str) -> list[dict[str, Any]]:
    """The results recorded in WORKDIR/eval.jsonl, oldest first."""
    path = os.path.join(workdir, EVAL_FILE)
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
