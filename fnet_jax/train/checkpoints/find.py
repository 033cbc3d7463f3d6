"""Finds the checkpoint to read: that of a step, the best one or the newest."""

import os

from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import workdir_of
from fnet_jax.runtime import hosts
from fnet_jax.train.checkpoints.checkpointer import Checkpointer


def find_checkpoint(path: str, step: int | None = None) -> tuple[str, int]:
    """Finds a checkpoint whose parameters are whole.

    Args:
        path: a workdir, or one checkpoint folder WORKDIR/checkpoints/STEP.
        step: which of the workdir's checkpoints; by default the best where the run keeps the best,
            otherwise the newest; if that is damaged, the newest that is not.

    Returns:
        The workdir and the step.

    Raises:
        UserError: if there is no such checkpoint, naming those that are, or it is damaged.
    """
    workdir = workdir_of(path)
    if workdir != os.path.abspath(os.path.expanduser(path)):
        step = int(os.path.basename(os.path.normpath(path)))
    with Checkpointer(workdir, read_only=True) as checkpointer:
        steps, best = hosts.broadcast(checkpointer.steps()), hosts.broadcast(checkpointer.best())
    if not steps:
        raise UserError(f"{path} holds no complete checkpoint; train one there first, or name another folder")
    if step is not None and step not in steps:
        raise UserError(f"{workdir} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    first = step if step is not None else best[0] if best else steps[-1]
    candidates = [first] if step is not None else [first, *(s for s in reversed(steps) if s != first)]
    faults: list[str] = []
    for candidate in candidates:
        fault = checkpointer.fault(candidate)
        if not fault:
            for said in faults:
                hosts.print_once(f"{said}; taking step {candidate}")
            return workdir, candidate
        faults.append(f"checkpoint {checkpointer.folder(candidate)} is damaged ({fault})")
    raise UserError("; ".join(faults) + "; name another --step or folder, or put back a copy")
