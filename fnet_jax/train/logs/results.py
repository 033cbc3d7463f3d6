"""Results of `eval.py`: a table for a person, one JSON line for everything else."""

import json
import math
import os
from typing import Any

from fnet_jax.core import jsonl
from fnet_jax.tasks.tag.scores import F1_OF

EVAL_FILE = "eval.jsonl"

# Metric -> its name in a table and how it is written.
ROWS = {
    "masked_lm_accuracy": ("masked LM accuracy", "{:.1%}"),
    "masked_lm_loss": ("masked LM loss (nats)", "{:.3f}"),
    "mask_token_accuracy": ("  at [MASK] alone: accuracy", "{:.1%}"),
    "mask_token_loss": ("  at [MASK] alone: loss (nats)", "{:.3f}"),
    "next_sentence_accuracy": ("next sentence accuracy", "{:.1%}"),
    "next_sentence_loss": ("next sentence loss (nats)", "{:.3f}"),
    "accuracy": ("accuracy", "{:.1%}"),
    "precision": ("precision", "{:.1%}"),
    "recall": ("recall", "{:.1%}"),
    "exact_match": ("exact match", "{:.1%}"),
    "f1": ("F1", "{:.1%}"),
    "macro_f1": ("F1, mean over the labels", "{:.1%}"),
    "has_answer_exact_match": ("  with an answer: exact match", "{:.1%}"),
    "has_answer_f1": ("  with an answer: F1", "{:.1%}"),
    "no_answer_accuracy": ("  without: right", "{:.1%}"),
    "matthews": ("Matthews correlation", "{:.3f}"),
    "pearson": ("Pearson correlation", "{:.3f}"),
    "spearman": ("Spearman correlation", "{:.3f}"),
    "cross_entropy": ("loss (nats)", "{:.3f}"),
    "squared_error": ("mean squared error", "{:.3f}"),
}


def table(values: dict[str, Any]) -> str:
    """The result for a person: a row per metric, the baseline beside it.

    Args:
        values: of `CheckpointEvaluator.evaluate`.
    """
    prefixes = [""] + [name.removesuffix("split") for name in values if name.endswith("/split")]
    return "\n\n".join(_block(values, prefix) for prefix in prefixes)


def _block(values: dict[str, Any], prefix: str) -> str:
    examples = f"{values[prefix + 'examples']:,} examples"
    split = values[prefix + "split"].replace("heldout", "held-out")
    rows = [f"{split} split, {examples}, step {values['step']}"]
    rows.append(f"{'':32s}{'model':>10s}{'baseline':>10s}")
    kinds = [name.removeprefix(prefix) for name in values if name.startswith(prefix + F1_OF)]
    of_kinds = {name: (f"F1 of {name.removeprefix(F1_OF)}", "{:.1%}") for name in kinds if len(kinds) > 1}
    for name, (label, form) in {**ROWS, **of_kinds}.items():
        if prefix + name in values:
            shown = [_shown(form, values.get(key)) for key in (prefix + name, f"{prefix}baseline_{name}")]
            rows.append(f"{label:32s}{shown[0]:>10s}{shown[1]:>10s}")
    rows += [f"note: {warning}" for warning in values.get(f"{prefix}warnings", [])]
    return "\n".join(rows)


def _shown(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def record(workdir: str, values: dict[str, Any]) -> str:
    """Appends the result to WORKDIR/eval.jsonl and returns it as one JSON line."""
    line = json.dumps(without_nan(values))
    with open(os.path.join(workdir, EVAL_FILE), "a", encoding="utf-8") as file:
        file.write(line + "\n")
    return line


def without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """The values with None in place of what is not finite, for which JSON has no word."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def read_results(workdir: str) -> list[dict[str, Any]]:
    """The results recorded in WORKDIR/eval.jsonl, oldest first; a last line cut by a kill is left out."""
    return jsonl.read(os.path.join(workdir, EVAL_FILE))
