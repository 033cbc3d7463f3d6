"""Checkpoints: written asynchronously by Orbax, complete or not there, opened on any mesh.

WORKDIR/checkpoints/STEP/ holds separate items, so a reader takes only what it needs: `variables`
(params and constants), `optimizer`, and `metrics` with the score where the run keeps its best checkpoint;
and the checksums of their files. The config and the tokenizer lie in the workdir beside them.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from fnet_jax.core.errors import MachineError, UserError, reason
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import CHECKPOINT_DIR
from fnet_jax.runtime import hosts
from fnet_jax.tasks.metrics import Variables
from fnet_jax.train.checkpoints import checksums
from fnet_jax.train.checkpoints.best import add_metrics, metrics_of, rank, read_metrics
from fnet_jax.train.state import TrainState

VARIABLES, OPTIMIZER = "variables", "optimizer"


class SaveError(MachineError):
    """A checkpoint could not be saved."""


class Checkpointer:
    """Saves, lists, checks and restores the checkpoints of one workdir."""

    def __init__(self, workdir: str, max_to_keep: int | None = None, read_only: bool = False):
        """Opens WORKDIR/checkpoints.

        Args:
            workdir: folder of the run.
            max_to_keep: older checkpoints are deleted, but never the one with the best score; None keeps all.
            read_only: neither writes nor cleans up; a missing folder is then an empty one.
        """
        self.directory = os.path.join(os.path.abspath(workdir), CHECKPOINT_DIR)
        self._saving = -1
        self._read_only = read_only
        asynchronous = ocp.AsyncOptions(post_finalization_callback=self._write_checksums)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_keep(max_to_keep),
            best_fn=rank,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
            enable_async_checkpointing=not read_only,
            async_options=None if read_only else asynchronous,
            lightweight_initialize=True,  # a damaged checkpoint is found when it is restored
        )
        exists = os.path.isdir(self.directory) or not read_only
        # Handlers named up front, so that shapes can be read before any array is.
        handlers = {VARIABLES: ocp.PyTreeCheckpointHandler(), OPTIMIZER: ocp.StandardCheckpointHandler()}
        self._manager = (
            ocp.CheckpointManager(self.directory, options=options, item_handlers=handlers) if exists else None
        )

    def __enter__(self) -> "Checkpointer":
        """For a `with` block, which closes it."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Closes, unless a save may wait for ever for another process that has failed."""
        if error is None or self._read_only or hosts.count() == 1:
            self.close()

    @property
    def _orbax(self) -> ocp.CheckpointManager:
        assert self._manager is not None, f"{self.directory} is not there"
        return self._manager

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps()) if self._manager else []

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def latest_on_disk(self) -> int | None:
        """Step of the newest complete checkpoint, not counting one that is still being saved."""
        return max((int(name) for name in os.listdir(self.directory) if name.isdigit()), default=None)

    def folder(self, step: int) -> str:
        """Where a checkpoint lies."""
        return os.path.join(self.directory, str(step))

    def reload(self) -> None:
        """Sees what has been changed on disk since."""
        if self._manager:
            self._manager.reload()

    def best(self) -> tuple[int, float] | None:
        """Step and score of the best checkpoint, the earliest of equals; None where none has a score."""
        found = [rank(metrics) for step in self.steps() if (metrics := read_metrics(self.folder(step)))]
        if not found:
            return None
        score, minus_step = max(found)
        return -minus_step, score

    def save(self, step: int, state: TrainState, score: float | None = None) -> None:
        """Starts saving `state` as checkpoint `step`; returns once it is copied off the devices.

        Args:
            step: of the state.
            state: to be saved; without its optimizer if `opt_state` is None.
            score: of the state, if it was evaluated; greater is better, nan is worst.

        Raises:
            SaveError: if this save, or an earlier one that went on meanwhile, failed.
        """
        if step in self.steps():
            if score is not None:
                metrics = metrics_of(step, score)
                hosts.run_on_primary(
                    lambda: add_metrics(self.folder(step), metrics), f"add the score of step {step}"
                )
                self.reload()
            return
        items: dict[str, Any] = {VARIABLES: ocp.args.PyTreeSave(dict(state.variables))}
        if state.opt_state is not None:
            items[OPTIMIZER] = ocp.args.StandardSave(state.opt_state)
        with self._failure_named():
            self._orbax.wait_until_finished()
            self._saving = step
            self._orbax.save(
                step,
                metrics=None if score is None else metrics_of(step, score),
                args=ocp.args.Composite(**items),
            )

    def wait(self) -> None:
        """Returns when everything saved is on disk.

        Raises:
            SaveError: if a save failed.
        """
        if self._manager:
            with self._failure_named():
                self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _failure_named(self) -> Iterator[None]:
        """Turns what Orbax raises into a SaveError; the checkpoints before are as they were."""
        try:
            yield
        except Exception as error:
            kept = self.latest_on_disk()
            good = "there is none before" if kept is None else f"the last good checkpoint is step {kept}"
            raise SaveError(
                f"checkpoint {self.folder(self._saving)} could not be saved ({reason(error)}); {good}; "
                "make room, and the same command goes on from there"
            ) from error

    def _write_checksums(self) -> None:
        """Adds the checksums; Orbax calls it in process 0 alone, between the last file and the commit."""
        for name in os.listdir(self.directory):
            if name.split(".")[0] == str(self._saving):
                checksums.write(os.path.join(self.directory, name))

    def fault(self, step: int, item: str = VARIABLES) -> str:
        """What is wrong with a checkpoint's files; "" if nothing is known to be wrong.

        Process 0 reads them for all.

        Args:
            step: of the checkpoint.
            item: look at this one alone; "" for all.
        """
        fault = checksums.fault(self.folder(step), item) if hosts.is_primary() else ""
        return hosts.broadcast(fault, f"process 0 to check {self.folder(step)}")

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The whole state, each array with the sharding that `abstract` gives it.

        Raises:
            UserError: if a tensor is missing, surplus or of another shape.
        """
        self.check_fit(step, abstract)
        restored = self._orbax.restore(
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

    def check_fit(self, step: int, abstract: TrainState) -> None:
        """Compares names and shapes of a state with a checkpoint's, before any array is read.

        Raises:
            UserError: if a tensor is missing, surplus or of another shape.
        """
        self._check_fit(step, VARIABLES, dict(abstract.variables))
        self._check_fit(step, OPTIMIZER, abstract.opt_state)

    def restore_variables(self, step: int, abstract: Variables, part: bool = False) -> Variables:
        """Params and constants only, each array with the sharding that `abstract` gives it.

        Args:
            step: of the checkpoint.
            abstract: what to restore.
            part: the checkpoint may hold more than that.

        Raises:
            UserError: if a tensor is missing, surplus or of another shape.
        """
        self._check_fit(step, VARIABLES, dict(abstract), part)
        args = ocp.args.Composite(**{VARIABLES: _restore_args(dict(abstract))})
        return self._orbax.restore(step, args=args)[VARIABLES]

    def shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Path -> shape of every variable of a checkpoint."""
        return _shapes(self._orbax.item_metadata(step)[VARIABLES].tree)

    def close(self) -> None:
        """Waits for saves under way and frees the manager's threads; `wait` tells whether they failed."""
        if self._manager:
            with contextlib.suppress(Exception):
                self._manager.close()

    def _check_fit(self, step: int, item: str, abstract: Any, part: bool = False) -> None:
        """See `check_fit`; with `part`, the checkpoint may hold more."""
        found = self._orbax.item_metadata(step).get(item)
        if found is None and os.path.isdir(os.path.join(self.folder(step), item)):
            raise OSError(f"{item} cannot be read")  # damaged, and not left out on purpose
        if found is None:
            raise UserError(
                f"checkpoint {self.directory}/{step} holds no {item}, so no run goes on from it; start in a "
                f"fresh --workdir with --config.init_from={os.path.dirname(self.directory)}"
            )
        saved = _shapes(found.tree)
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


def _keep(max_to_keep: int | None) -> checkpoint_managers.PreservationPolicy:
    """The newest checkpoints, and the best one of those that have a score."""
    best = checkpoint_managers.BestN(get_metric_fn=rank, n=1, keep_checkpoints_without_metrics=False)
    return checkpoint_managers.AnyPreservationPolicy([checkpoint_managers.LatestN(max_to_keep), best])


def _restore_args(abstract: Any) -> ocp.args.PyTreeRestore:
    return ocp.args.PyTreeRestore(
        abstract, ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array of a tree, such as "params/encoder/pooler/bias" -> (256,)."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {path_str(path): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}
