"""Going on after a fault: the newest checkpoint that is whole, and what becomes of those that are not."""

from collections.abc import Mapping

from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import set_aside
from fnet_jax.runtime import hosts
from fnet_jax.train import checksums
from fnet_jax.train.checkpoint import Checkpointer, reason
from fnet_jax.train.state import TrainState


def restore_newest(checkpointer: Checkpointer, abstract: TrainState) -> tuple[TrainState, int] | None:
    """The newest whole checkpoint and its step; None if there is none at all. For the trainer.

    Damaged ones that are newer are said and moved to WORKDIR/damaged. Each array gets the sharding that
    `abstract` gives it.

    Raises:
        UserError: if none can be read, or the newest whole one does not fit the config.
    """
    faults: dict[int, str] = {}
    for step in reversed(hosts.broadcast(checkpointer.steps())):
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
    if fault := checkpointer.fault(step, ""):
        return fault, None
    try:
        return "", checkpointer.restore(step, abstract)
    except UserError:
        raise
    except Exception as error:
        if checksums.exist(checkpointer.folder(step)) or hosts.count() > 1:
            raise  # the files are what was saved: not their fault
        return reason(error), None


def _set_aside(checkpointer: Checkpointer, faults: Mapping[int, str]) -> None:
    """Moves damaged checkpoints out of the way, those with an unreadable score too."""

    def move() -> None:
        for step in checkpointer.steps():
            sound = checkpointer.has_sound_score(step)
            if why := faults.get(step) or ("" if sound else "its score cannot be read"):
                folder = checkpointer.folder(step)
                place = set_aside(folder)
                print(f"checkpoint {folder} is damaged ({why}) and left out; moved to {place}")

    hosts.run_on_primary(move, "set damaged checkpoints aside")
    checkpointer.reload()
