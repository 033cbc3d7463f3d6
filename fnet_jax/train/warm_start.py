"""Starts a run from the parameters of another one; the optimizer is fresh."""

import dataclasses
from typing import Any

import jax

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import saved_config
from fnet_jax.tasks.metrics import Variables
from fnet_jax.train.checkpoint import Checkpointer
from fnet_jax.train.find_checkpoint import find_checkpoint
from fnet_jax.train.state import TrainState

ENCODER = "encoder"
POSITIONS = "params/encoder/embedder/position/embedding"
FIXED_LENGTH_MIXERS = ("linear", "random")  # they have a matrix over the positions


def with_pretrained_encoder(config: Config, state: TrainState) -> tuple[TrainState, str]:
    """Replaces the encoder by that of `init_from`.

    A shorter `max_seq_length` than that of pretraining takes the first position embeddings.

    Returns:
        The state, and a sentence that says what was taken.

    Raises:
        UserError: if there is no such checkpoint, or its encoder does not fit the config.
    """
    source, step = find_checkpoint(config.init_from)
    wanted = _encoder(state.variables)
    checkpointer = Checkpointer(source, read_only=True)
    length = config.model.max_seq_length
    saved_length = checkpointer.shapes(step).get(POSITIONS, (length,))[0]
    _check_length(config, source, saved_length)
    abstract = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.ShapeDtypeStruct(
            (saved_length, *leaf.shape[1:]) if path_str(path) == POSITIONS else leaf.shape,
            leaf.dtype,
            sharding=leaf.sharding,
        ),
        wanted,
    )
    restored = checkpointer.restore_part(step, abstract)
    checkpointer.close()
    encoder = jax.tree.map(
        lambda new, old: new if new.shape == old.shape else jax.device_put(new[:length], old.sharding),
        restored,
        wanted,
    )
    merged = {group: {**state.variables[group], **encoder.get(group, {})} for group in state.variables}
    text = f"warm start: encoder of step {step} of {source}; fresh classifier and optimizer"
    if saved_length != length:
        text += (
            f"\nwarning: model.max_seq_length={length}, but the encoder was trained at {saved_length}; "
            "FNet mixes padding like any other token, so expect lower scores than at one length"
        )
    return dataclasses.replace(state, **merged), text


def with_pretrained_modules(config: Config, state: TrainState) -> tuple[TrainState, str]:
    """Replaces the encoder and, where `init_from` is of a pretraining too, the heads that both have.

    Returns:
        The state, and a sentence that says what is fresh.

    Raises:
        UserError: if there is no such checkpoint, or it does not fit the config.
    """
    source, step = find_checkpoint(config.init_from)
    saved = saved_config(source)
    checkpointer = Checkpointer(source, read_only=True)
    there = {path.split("/")[1] for path in checkpointer.shapes(step)}
    if saved is not None and not saved.is_pretraining:
        there = {ENCODER}
    wanted = {
        group: {name: module for name, module in tree.items() if name in there or name == ENCODER}
        for group, tree in state.variables.items()
    }
    restored = checkpointer.restore_part(step, jax.tree.map(_struct, wanted))
    checkpointer.close()
    merged = {group: {**state.variables[group], **restored.get(group, {})} for group in state.variables}
    fresh = sorted(state.params.keys() - there - {ENCODER})
    text = f"warm start: parameters of step {step} of {source}, fresh optimizer"
    return dataclasses.replace(state, **merged), text + (f", fresh {', '.join(fresh)}" if fresh else "")


def _struct(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _encoder(variables: Variables) -> dict[str, Any]:
    return {group: {ENCODER: tree[ENCODER]} for group, tree in variables.items() if ENCODER in tree}


def _check_length(config: Config, source: str, saved: int) -> None:
    length, mixer = config.model.max_seq_length, config.model.mixer
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
