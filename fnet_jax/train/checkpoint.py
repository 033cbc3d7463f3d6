"""Checkpoints: written asynchronously by Orbax, complete or not there, opened on any mesh.

WORKDIR/checkpoints/STEP/ holds separate items, so a reader takes only what it needs: `variables`
(params and constants) and `optimizer`. The config and the tokenizer lie in the workdir beside them.
"""

import os
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.train.metrics import Variables
from fnet_jax.train.state import TrainState

VARIABLES, OPTIMIZER = "variables", "optimizer"


class Checkpointer:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str, max_to_keep: int | None = None, read_only: bool = False):
        """Opens WORKDIR/checkpoints.

        Args:
            workdir: folder of the run.
            max_to_keep: older checkpoints are deleted; None keeps all.
            read_only: neither writes nor cleans up; a missing folder is then an empty one.
        """
        self.directory = os.path.join(os.path.abspath(workdir), CHECKPOINT_DIR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=max_to_keep,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=not read_only,
        )
        exists = os.path.isdir(self.directory) or not read_only
        # Handlers named up front, so that shapes can be read before any array is.
        handlers = {item: ocp.StandardCheckpointHandler() for item in (VARIABLES, OPTIMIZER)}
        self._manager = (
            ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers) if exists else None
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps()) if self._manager else []

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: TrainState) -> None:
        """Starts saving `state` as checkpoint `step`; returns once it is copied off the devices.

        Raises:
            Exception: of an earlier save that failed meanwhile.
        """
        assert self._manager is not None
        if step in self.steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                **{
                    VARIABLES: ocp.args.StandardSave(dict(state.variables)),
                    OPTIMIZER: ocp.args.StandardSave(state.opt_state),
                }
            ),
        )

    def wait(self) -> None:
        """Returns when everything saved is on disk; raises if a save failed."""
        if self._manager:
            self._manager.wait_until_finished()

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The whole state, each array with the sharding that `abstract` gives it.

        Raises:
            UserError: if a tensor is missing, surplus or of another shape.
        """
        self._check_fit(step, VARIABLES, dict(abstract.variables))
        self._check_fit(step, OPTIMIZER, abstract.opt_state)
        assert self._manager is not None
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{
                    VARIABLES: ocp.args.StandardRestore(dict(abstract.variables)),
                    OPTIMIZER: ocp.args.StandardRestore(abstract.opt_state),
                }
            ),
        )
        return TrainState(
            step=jax.device_put(np.int32(step), abstract.step.sharding),
            opt_state=restored[OPTIMIZER],
            **restored[VARIABLES],
        )

    def restore_variables(self, step: int, abstract: Variables) -> Variables:
        """Params and constants only, each array with the sharding that `abstract` gives it.

        Raises:
            UserError: if a tensor is missing, surplus or of another shape.
        """
        self._check_fit(step, VARIABLES, dict(abstract))
        assert self._manager is not None
        args = ocp.args.Composite(**{VARIABLES: ocp.args.StandardRestore(dict(abstract))})
        return self._manager.restore(step, args=args)[VARIABLES]

    def close(self) -> None:
        """Waits for saves under way and frees the manager's threads."""
        if self._manager:
            self._manager.close()

    def _check_fit(self, step: int, item: str, abstract: Any) -> None:
        """Compares names and shapes with what is on disk, before any array is read."""
        assert self._manager is not None
        saved = _shapes(self._manager.item_metadata(step)[item].tree)
        wanted = _shapes(abstract)
        faults = [
            *(f"{name} has shape {saved[name]}, the config needs {shape}"
              for name, shape in wanted.items() if name in saved and saved[name] != shape),
            *(f"{name} is not in the checkpoint" for name in wanted if name not in saved),
            *(f"{name} is not in the model of the config" for name in saved if name not in wanted),
        ]  # fmt: skip
        if faults:
            more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
            raise UserError(
                f"checkpoint {self.directory}/{step} does not fit the config: {'; '.join(faults[:3])}{more}; "
                "use the config it was trained with, or a fresh --workdir"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {path_str(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}


def resolve(path: str, step: int | None = None) -> tuple[str, int]:
    """Finds a checkpoint.

    Args:
        path: a workdir, or one checkpoint folder WORKDIR/checkpoints/STEP.
        step: which of the workdir's checkpoints; the newest by default.

    Returns:
        The workdir and the step.

    Raises:
        UserError: if there is no such checkpoint, naming those that are.
    """
    path = os.path.abspath(os.path.expanduser(path))
    head, tail = os.path.split(path)
    if os.path.basename(head) == CHECKPOINT_DIR and tail.isdigit():
        path, step = os.path.dirname(head), int(tail)
    checkpointer = Checkpointer(path, read_only=True)
    steps = checkpointer.steps()
    checkpointer.close()
    if not steps:
        raise UserError(f"{path} holds no complete checkpoint; train one there first, or name another folder")
    if step is None:
        step = steps[-1]
    if step not in steps:
        raise UserError(f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    return path, step
