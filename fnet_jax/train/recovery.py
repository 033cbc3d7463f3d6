"""Going on after a fault: the newest checkpoint that is whole, and what becomes of those that are not."""

from collections.abc import Mapping

import jax

from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import set_aside
from fnet_jax.train import checksums
from fnet_jax.train.checkpoint import Checkpointer, all_arrive, first_says, reason
from fnet_jax.train.state import TrainState


def restore_newest(checkpointer: Checkpointer, abstract: TrainState) -> tuple[TrainState, int] | None:
    """The newest whole checkpoint and its step; None if there is none at all. For the trainer.

    Damaged ones that are newer are said and moved to WORKDIR/damaged. Each array gets the sharding that
    `abstract` gives it.

    Raises:
        UserError: if none can be read, or the newest whole one does not fit the config.
    """
    faults: dict[int, str] = {}
    for step in reversed(checkpointer.steps()):
        fault, restored = _try(checkpointer, step, abstract)
        if restored is not None:
            _set_aside(checkpointer, faults)
            return restored, step
        faults[step] = fault
    if faults:
        raise UserError(
            f"no checkpoint of {checkpointer.directory} can be read: "
            + "; ".join(f"{step}: {fault}" for step, fault in faults.items())
            + "; put back a copy, or name a fresh --workdir to start anew"
        )
    return None


def _try(checkpointer: Checkpointer, step: int, abstract: TrainState) -> tuple[str, TrainState | None]:
    """What is wrong with a checkpoint, or the state."""
    fault = "" if jax.process_index() else checkpointer.fault(step, "")
    if first_says(bool(fault)):
        return fault or "the first process found it damaged", None
    try:
        return "", checkpointer.restore(step, abstract)
    except UserError:
        raise
    except Exception as error:
        if checksums.exist(checkpointer.folder(step)) or jax.process_count() > 1:
            raise  # the files are what was saved: not their fault
        return reason(error), None


def _set_aside(checkpointer: Checkpointer, faults: Mapping[int, str]) -> None:
    """Moves damaged checkpoints out of the way, those with an unreadable score too."""
    for step in checkpointer.steps():
        why = faults.get(step) or (
            "its score cannot be read" if not checkpointer.has_sound_score(step) else ""
        )
        if why and not jax.process_index():
            place = set_aside(checkpointer.folder(step))
            print(f"checkpoint {checkpointer.folder(step)} is damaged ({why}) and left out; moved to {place}")
    all_arrive("damaged checkpoints set aside")
    checkpointer.reload()
