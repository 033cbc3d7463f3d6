"""Checkpoints: written asynchronously by Orbax, complete or not there, opened on any mesh.

WORKDIR/checkpoints/STEP/ holds separate items, so a reader takes only what it needs: `variables`
(params and constants), `optimizer`, and `metrics` with the score where the run keeps its best checkpoint.
The config and the tokenizer lie in the workdir beside them.
"""

import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import CHECKPOINT_DIR, workdir_of
from fnet_jax.train.metrics import Variables
from fnet_jax.train.state import TrainState

VARIABLES, OPTIMIZER = "variables", "optimizer"


class Checkpointer:
    """The checkpoints of one workdir."""

    def __init__(self, workdir: str, max_to_keep: int | None = None, read_only: bool = False):
        """Opens WORKDIR/checkpoints.

        Args:
            workdir: folder of the run.
            max_to_keep: older checkpoints are deleted, but never the one with the best score; None keeps all.
            read_only: neither writes nor cleans up; a missing folder is then an empty one.
        """
        self.directory = os.path.join(os.path.abspath(workdir), CHECKPOINT_DIR)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_keep(max_to_keep),
            best_fn=_rank,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=not read_only,
        )
        exists = os.path.isdir(self.directory) or not read_only
        # Handlers named up front, so that shapes can be read before any array is.
        handlers = {VARIABLES: ocp.PyTreeCheckpointHandler(), OPTIMIZER: ocp.StandardCheckpointHandler()}
        self._manager = (
            ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers) if exists else None
        )

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps()) if self._manager else []

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def reload(self) -> None:
        """Sees what another process has saved or deleted since."""
        if self._manager:
            self._manager.reload()

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint, the earliest of equals; None where none has a score."""
        if self._manager is None:
            return None
        ranks = [_rank(metrics) for step in self.steps() if (metrics := self._manager.metrics(step))]
        if not ranks:
            return None
        score, minus_step = max(ranks)
        return -minus_step, score

    def save(self, step: int, state: TrainState, score: float | None = None) -> None:
        """Starts saving `state` as checkpoint `step`; returns once it is copied off the devices.

        Args:
            step: of the state.
            state: to be saved.
            score: of the state, if it was evaluated; greater is better, nan is worst.

        Raises:
            Exception: of an earlier save that failed meanwhile.
        """
        assert self._manager is not None
        if step in self.steps():
            return
        self._manager.save(
            step,
            metrics=_metrics(step, score),
            args=ocp.args.Composite(
                **{
                    VARIABLES: ocp.args.PyTreeSave(dict(state.variables)),
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
                    VARIABLES: _restore_args(dict(abstract.variables)),
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
        return self._restore_variables(step, abstract)

    def restore_part(self, step: int, abstract: Variables) -> Variables:
        """Those variables that `abstract` has, whatever else the checkpoint holds.

        Raises:
            UserError: if a tensor is missing or of another shape.
        """
        self._check_fit(step, VARIABLES, dict(abstract), part=True)
        return self._restore_variables(step, abstract)

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Path -> shape of every variable of a checkpoint."""
        assert self._manager is not None
        return _shapes(self._manager.item_metadata(step)[VARIABLES].tree)

    def _restore_variables(self, step: int, abstract: Variables) -> Variables:
        assert self._manager is not None
        args = ocp.args.Composite(**{VARIABLES: _restore_args(dict(abstract))})
        return self._manager.restore(step, args=args)[VARIABLES]

    def close(self) -> None:
        """Waits for saves under way and frees the manager's threads."""
        if self._manager:
            self._manager.close()

    def _check_fit(self, step: int, item: str, abstract: Any, part: bool = False) -> None:
        """Compares names and shapes with what is on disk, before any array is read."""
        assert self._manager is not None
        saved = _shapes(self._manager.item_metadata(step)[item].tree)
        wanted = _shapes(abstract)
        faults = [
            *(f"{name} has shape {saved[name]}, the config needs {shape}"
              for name, shape in wanted.items() if name in saved and saved[name] != shape),
            *(f"{name} is not in the checkpoint" for name in wanted if name not in saved),
            *(f"{name} is not in the model of the config" for name in saved
              if name not in wanted and not part),
        ]  # fmt: skip
        if faults:
            more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
            raise UserError(
                f"checkpoint {self.directory}/{step} does not fit the config: {'; '.join(faults[:3])}{more}; "
                "use the config it was trained with, or a fresh --workdir"
            )


_NO_SCORE = -math.inf


def early_stop_step(config: Config, checkpointer: Checkpointer) -> int | None:
    """The step at which a run ended because the score had stopped rising, or None.

    That is the newest checkpoint, if `early_stop_evals` evaluations lie between the best one and it; so the
    checkpoints alone say whether a run is over, and a resumed run ends where an uninterrupted one does.
    """
    best, latest = checkpointer.best(), checkpointer.latest()
    patience = config.train.early_stop_evals * config.train.eval_frequency
    if not patience or best is None or latest is None:
        return None
    return latest if latest - best[0] >= patience else None


def _metrics(step: int, score: float | None) -> dict[str, float] | None:
    if score is None:
        return None
    return {"score": _NO_SCORE if math.isnan(score) else score, "step": step}


def _rank(metrics: Mapping[str, float]) -> tuple[float, int]:
    """What makes one checkpoint better than another: the score, then age."""
    return metrics["score"], -int(metrics["step"])


def _keep(max_to_keep: int | None) -> checkpoint_managers.PreservationPolicy:
    """The newest checkpoints, and the best one of those that have a score."""
    best = checkpoint_managers.BestN(get_metric_fn=_rank, n=1, keep_checkpoints_without_metrics=False)
    return checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(max_to_keep), best])


def _restore_args(abstract: Any) -> ocp.args.PyTreeRestore:
    return ocp.args.PyTreeRestore(
        abstract, ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array of a tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {path_str(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}


def resolve(path: str, step: int | None = None) -> tuple[str, int]:
    """Finds a checkpoint.

    Args:
        path: a workdir, or one checkpoint folder WORKDIR/checkpoints/STEP.
        step: which of the workdir's checkpoints; by default the best where the run keeps the best,
            otherwise the newest.

    Returns:
        The workdir and the step.

    Raises:
        UserError: if there is no such checkpoint, naming those that are.
    """
    workdir = workdir_of(path)
    if workdir != os.path.abspath(os.path.expanduser(path)):
        step = int(os.path.basename(os.path.normpath(path)))
    path = workdir
    checkpointer = Checkpointer(path, read_only=True)
    steps, best = checkpointer.steps(), checkpointer.best()
    checkpointer.close()
    if not steps:
        raise UserError(f"{path} holds no complete checkpoint; train one there first, or name another folder")
    if step is None:
        step = best[0] if best else steps[-1]
    if step not in steps:
        raise UserError(f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    return path, step
