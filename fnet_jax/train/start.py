"""How a run starts: the state that it goes on from, and what it leaves in the workdir for others."""

import dataclasses
import os
import tempfile
from collections.abc import Mapping

import jax

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError, reason
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import DAMAGED_DIR, leave_config, saved_config
from fnet_jax.runtime import hosts
from fnet_jax.train.checkpoints import checksums
from fnet_jax.train.checkpoints.best import BestTracker, read_metrics
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.checkpoints.find import find_checkpoint
from fnet_jax.train.setup import Setup
from fnet_jax.train.state import TrainState, create_state

ENCODER = "encoder"
POSITIONS = "params/encoder/embedder/position/embedding"
FIXED_LENGTH_MIXERS = ("linear", "random")  # they have a matrix over the positions


def start(setup: Setup, checkpointer: Checkpointer) -> tuple[TrainState, int, BestTracker] | None:
    """The state that a run goes on from, its step and the best so far; None if nothing is left to do.

    1. Resume: the workdir has a checkpoint that is whole. The newest one counts, whatever `init_from` says.
    2. Complete: that one is of the last step, or the score had stopped rising there. Nothing is to be done.
    3. From another run: `init_from` is set. Step 0 with a fresh optimizer, parameters as `init_from` says.
    4. Fresh: step 0 with random parameters.

    Unless it is complete, the workdir then holds the config and the tokenizer.

    Raises:
        UserError: if checkpoints do not fit the config or cannot be read, or the workdir cannot be written.
    """
    config, workdir = setup.config, setup.workdir
    found = restore_newest(checkpointer, setup.abstract)
    best = BestTracker(config.train, hosts.broadcast(checkpointer.best()))
    if found is not None:
        state, step = found
        hosts.print_once(f"resume: {checkpointer.folder(step)}")
        num_steps, stopped_early = config.train.num_train_steps, best.has_stopped_rising(step)
        if step >= num_steps or stopped_early:
            why = ", where the score had stopped rising" if stopped_early else ""
            hosts.print_once(f"complete: {workdir} already holds step {step} of {num_steps}{why}")
            return None
    else:
        state, step = create_state(setup.abstract, setup.objective, setup.optimizer, config.seed), 0
        if config.init_from:
            state, said = init_from(config, state)
            hosts.print_once(said)
    for warning in setup.dataset.warnings:
        hosts.print_once(f"note: {warning}")
    hosts.run_on_primary(
        lambda: leave_config(config, setup.dataset.tokenizer_path, workdir), "leave the config in the workdir"
    )
    return state, step, best


def check_workdir(workdir: str) -> None:
    """Makes the workdir.

    Raises:
        UserError: if it cannot be written, or the hosts do not share it.
    """
    try:
        os.makedirs(workdir, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=workdir):
            pass
    except OSError as error:
        raise UserError(
            f"--workdir={workdir} cannot be written ({error.strerror}); name another folder"
        ) from error
    if without := hosts.processes_without(workdir):
        raise UserError(
            f"--workdir={workdir} is not one folder for all hosts: process {without[0]} does not see what "
            "process 0 writes there; name a folder on a file system that all hosts share"
        )


# Resume


def restore_newest(checkpointer: Checkpointer, abstract: TrainState) -> tuple[TrainState, int] | None:
    """The newest whole checkpoint and its step; None if there is none at all. For the trainer.

    Damaged ones that are newer are said and moved to WORKDIR/damaged. Each array gets the sharding that
    `abstract` gives it.

    Raises:
        UserError: if none can be read, or the newest whole one does not fit the config.
    """
    faults: dict[int, str] = {}
    for step in reversed(hosts.broadcast(checkpointer.steps())):
        fault, restored = _try_restore(checkpointer, step, abstract)
        if restored is not None:
            _move_damaged(checkpointer, faults)
            return restored, step
        faults[step] = fault
    if faults:
        raise UserError(
            f"no checkpoint of {checkpointer.directory} can be read: "
            + "; ".join(f"{step}: {fault}" for step, fault in faults.items())
            + "; put back a copy, or name a fresh --workdir to start anew"
        )
    return None


def _try_restore(
    checkpointer: Checkpointer, step: int, abstract: TrainState
) -> tuple[str, TrainState | None]:
    """What is wrong with a checkpoint and None, or "" and the state that it holds."""
    if fault := checkpointer.fault(step, ""):
        return fault, None
    try:
        return "", checkpointer.restore(step, abstract)
    except UserError:
        raise
    except Exception as error:
        if checksums.exist(checkpointer.folder(step)) or hosts.count() > 1:
            raise  # the checksums are right, so the files are not the cause
        return reason(error), None


def _move_damaged(checkpointer: Checkpointer, faults: Mapping[int, str]) -> None:
    """Moves damaged checkpoints to WORKDIR/damaged/STEP, those with an unreadable score too."""
    damaged = os.path.join(os.path.dirname(checkpointer.directory), DAMAGED_DIR)

    def move() -> None:
        for step in checkpointer.steps():
            folder = checkpointer.folder(step)
            unreadable = "its score cannot be read" if read_metrics(folder) is None else ""
            if why := faults.get(step) or unreadable:
                os.makedirs(damaged, exist_ok=True)
                place, number = os.path.join(damaged, str(step)), 2
                while os.path.exists(place):
                    place, number = os.path.join(damaged, f"{step}-{number}"), number + 1
                os.rename(folder, place)
                print(f"checkpoint {folder} is damaged ({why}) and left out; moved to {place}")

    hosts.run_on_primary(move, "set damaged checkpoints aside")
    checkpointer.reload()


# From another run


def init_from(config: Config, state: TrainState) -> tuple[TrainState, str]:
    """Replaces parameters of a fresh state by those of the run that `config.init_from` names.

    A labelled task takes the encoder alone, and so does pretraining from a labelled task. Pretraining from
    another pretraining also takes the heads that both have. A labelled task with a shorter `max_seq_length`
    takes the first position embeddings.

    Returns:
        The state, and a sentence that says what was taken.

    Raises:
        UserError: if there is no such checkpoint, or it does not fit the config.
    """
    source, source_step = find_checkpoint(config.init_from)
    with Checkpointer(source, read_only=True) as checkpointer:
        shapes = checkpointer.shapes(source_step)
        length, saved_length = config.model.max_seq_length, _saved_length(config, source, shapes)
        modules = _modules_to_take(config, source, shapes)
        wanted = {
            group: kept
            for group, tree in state.variables.items()
            if (kept := {name: module for name, module in tree.items() if name in modules})
        }

        def as_saved(path: tuple, leaf: jax.Array) -> jax.ShapeDtypeStruct:
            shape = (saved_length, *leaf.shape[1:]) if path_str(path) == POSITIONS else leaf.shape
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=leaf.sharding)

        abstract = jax.tree_util.tree_map_with_path(as_saved, wanted)
        restored = checkpointer.restore_variables(source_step, abstract, part=True)

    def cut(restored: jax.Array, fresh: jax.Array) -> jax.Array:
        same = restored.shape == fresh.shape
        return restored if same else jax.device_put(restored[:length], fresh.sharding)

    taken = jax.tree.map(cut, restored, wanted)
    merged = {group: {**tree, **taken.get(group, {})} for group, tree in state.variables.items()}
    state = dataclasses.replace(state, **merged)
    if config.is_pretraining:
        heads = ", ".join(sorted(state.params.keys() - modules))
        said = f"warm start: parameters of step {source_step} of {source}, fresh optimizer"
        return state, f"{said}, fresh {heads}" if heads else said
    said = f"warm start: encoder of step {source_step} of {source}; fresh classifier and optimizer"
    if saved_length != length:
        said += (
            f"\nwarning: model.max_seq_length={length}, but the encoder was trained at {saved_length}; "
            "FNet mixes padding like any other token, so expect lower scores than at one length"
        )
    return state, said


def _modules_to_take(config: Config, source: str, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Names of the encoder and of all heads in the checkpoint that are to be restored."""
    if not config.is_pretraining:
        return {ENCODER}
    saved = saved_config(source)
    if saved is not None and not saved.is_pretraining:
        return {ENCODER}
    return {ENCODER, *(path.split("/")[1] for path in shapes)}


def _saved_length(config: Config, source: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Positions that the checkpoint has; pretraining needs as many as the config says.

    Raises:
        UserError: if a labelled task cannot take a part of them.
    """
    length, mixer = config.model.max_seq_length, config.model.mixer
    if config.is_pretraining:
        return length
    saved = shapes.get(POSITIONS, (length,))[0]
    if length > saved:
        raise UserError(
            f"model.max_seq_length={length} exceeds the {saved} positions of init_from={source}; "
            f"use {saved} or less"
        )
    if length != saved and mixer in FIXED_LENGTH_MIXERS:
        raise UserError(
            f"model.max_seq_length={length} must be {saved}, the length of init_from={source}: "
            f"the mixer {mixer!r} has matrices of that length"
        )
    return saved
