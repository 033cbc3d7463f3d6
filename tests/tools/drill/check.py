"""Compares a run that was killed with an undisturbed one, and sums up the kills."""

import collections
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.train.checkpoints.checkpointer import OPTIMIZER, VARIABLES, Checkpointer
from fnet_jax.train.logs import example_ids
from fnet_jax.train.logs.writers import read_jsonl
from tests.tools.drill.trainer import Kill

# Metrics that tell how fast the machine was.
_TIMES = ("examples_per_second", "tokens_per_second", "data_wait_share", "eta_minutes", "goodput", "mfu")


def lost_steps(workdir: str) -> int:
    """Number of steps that are in the metrics but not in the newest complete checkpoint.

    The next start drops the metrics of such steps before it compiles.
    """
    folder = os.path.join(workdir, CHECKPOINT_DIR)
    saved = [int(name) for name in os.listdir(folder) if name.isdigit()] if os.path.isdir(folder) else []
    done = [row["step"] for row in read_jsonl(workdir) if row["split"] == "train"]
    return max(0, max(done, default=0) - max(saved, default=0))


def differences(whole: str, killed: str) -> list[str]:
    """Sentences on where the killed run differs from the undisturbed one in any bit; [] if nowhere."""
    found = []
    for split in ("train", "eval"):
        found += _compare(f"{split} metrics", _metrics(whole, split), _metrics(killed, split))
    found += _compare("examples", example_ids.read(whole), example_ids.read(killed))
    left, right = _arrays(whole), _arrays(killed)
    equal = {name: np.array_equal(left[name], right.get(name, np.nan), equal_nan=False) for name in left}
    found += [f"the final {name} differs" for name, same in equal.items() if not same]
    return found


def report(kills: Sequence[Kill], faults: Sequence[str], seconds: float) -> str:
    """A table of kills by phase and signal, and what was lost."""
    names = ("SIGKILL", "SIGTERM", "SIGINT")
    counts = collections.Counter((kill.phase, kill.signal) for kill in kills)
    lines = [f"\n{'killed in':12}" + "".join(f"{name:>9}" for name in names) + f"{'all':>9}"]
    for phase in dict.fromkeys(kill.phase for kill in kills):
        row = [counts[phase, name] for name in names]
        lines.append(f"{phase:12}" + "".join(f"{count:9}" for count in [*row, sum(row)]))
    totals = [sum(count for (_, name), count in counts.items() if name == wanted) for wanted in names]
    lines.append(f"{'all':12}" + "".join(f"{count:9}" for count in [*totals, sum(totals)]))
    stops = [kill.seconds for kill in kills if kill.signal != "SIGKILL"]
    repeated = sum(kill.steps_lost for kill in kills)
    lines += [
        f"half-written checkpoints left: {sum(kill.half_written for kill in kills)}",
        f"checkpoints damaged between two starts: {sum(bool(kill.damage) for kill in kills)}",
        f"steps repeated after SIGKILL: {repeated}",
        f"slowest stop on SIGTERM or SIGINT: {max(stops, default=0):.1f} s",
        *(f"fault: {fault}" for fault in faults[:10]),
        f"lost: {'nothing' if not faults else f'see above, {len(faults)} faults'} "
        f"({len(kills)} kills in {seconds / 60:.0f} min)",
    ]
    return "\n".join(lines)


def _metrics(workdir: str, split: str) -> dict[int, dict[str, Any]]:
    return {
        row["step"]: {name: value for name, value in row.items() if name not in _TIMES}
        for row in read_jsonl(workdir)
        if row["split"] == split
    }


def _compare(name: str, left: dict[int, Any], right: dict[int, Any]) -> list[str]:
    found = []
    if left.keys() != right.keys():
        odd = sorted(left.keys() ^ right.keys())
        found.append(f"{name}: steps {odd[:5]} are in one run alone ({len(odd)} of {len(left)})")
    wrong = [step for step in left if step in right and left[step] != right[step]]
    if wrong:
        found.append(f"{name} differ first at step {min(wrong)} ({len(wrong)} of {len(left)})")
    return found


def _arrays(workdir: str) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, by its path."""
    checkpointer = Checkpointer(workdir, read_only=True)
    step = checkpointer.latest()
    checkpointer.close()
    assert step is not None
    arrays = {}
    for item in (VARIABLES, OPTIMIZER):
        folder = os.path.join(checkpointer.folder(step), item)
        with ocp.PyTreeCheckpointer() as reader:
            names = reader.metadata(folder).item_metadata.tree
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
            tree = reader.restore(folder, restore_args=as_numpy)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            arrays[f"{item}/{jax.tree_util.keystr(path)}"] = np.asarray(leaf)
    return arrays
