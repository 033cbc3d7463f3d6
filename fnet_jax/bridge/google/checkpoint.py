"""Checkpoints of the original FNet and of Sparse Mixers (google-research): single msgpack files of Flax.

All published architectures, base and large; `google_model` has their names. A file holds a whole training
state, the parameters and Adam's moments, in the layout of the optimizer that Flax no longer has or in that of
Flax's TrainState.
"""

import dataclasses
import os
import re
import struct
from collections.abc import Iterator
from typing import Any

import flax.serialization

from fnet_jax.bridge.google import model as google_model
from fnet_jax.bridge.google import msgpack_file
from fnet_jax.bridge.google.model import Tensors
from fnet_jax.bridge.google.msgpack_file import Tree
from fnet_jax.bridge.loaded import Loaded, find_tokenizer, flat, nested, run_config
from fnet_jax.bridge.name_tables import FileTensor, gather, scatter
from fnet_jax.core.config import Mixer
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file
from fnet_jax.nn.encoder import layer_mixers

TOKENIZER = "c4_bpe_sentencepiece.model"  # as it is published


@dataclasses.dataclass(frozen=True)
class Moments:
    """What Adam knows after `step` steps; `mean` and `square` are named and laid out as the parameters."""

    step: int
    mean: dict[str, Any]
    square: dict[str, Any]


def read(path: str, mixer: Mixer | None = None, seed: int = 0) -> Loaded:
    """Reads a checkpoint; sizes and head follow from its tensors, and so does a mixer that has any.

    Besides the result, at most one tensor is in memory.

    Args:
        path: of the file, or of a folder, of which the newest checkpoint_STEP is taken.
        mixer: of the layers without parameters, if the file does not bear its published name.
        seed: of the original run, from which the matrices of mixer "random" follow.

    Raises:
        UserError: if the file is damaged or holds another model, naming every tensor at fault.
    """
    path = _file(path)
    tensors = _parameters(path, msgpack_file.index(path))
    head, model = google_model.describe(path, tensors, mixer)
    config = run_config(head, model)
    variables = {"params": nested(gather(path, google_model.name_table(head, model, tensors), tensors))}
    if "random" in layer_mixers(model):
        variables["constants"] = google_model.random_constants(model, seed)
    return Loaded(config, head, variables, find_tokenizer(os.path.dirname(path), TOKENIZER))


def read_moments(path: str, loaded: Loaded) -> Moments:
    """Reads the optimizer's state from a checkpoint that `read` has read.

    Raises:
        UserError: if there is none, or none that fits, naming every tensor at fault.
    """
    path = _file(path)
    step, mean, square = _optimizer(path, msgpack_file.index(path))
    table = google_model.name_table(loaded.head, loaded.config.model, mean)
    return Moments(step, *(nested(gather(path, table, tensors)) for tensors in (mean, square)))


def write(loaded: Loaded, path: str) -> None:
    """Writes the parameters for the original's own code, which finds them under `target`.

    Raises:
        UserError: if the original has no such model.
    """
    model = loaded.config.model
    known = set(google_model.ARCHITECTURES.values()) >= set(layer_mixers(model))
    if not known or loaded.head not in ("encoder", "pretrain", "sequence", "next_sentence"):
        raise UserError(
            f"the original FNet has no model of mixer={model.mixer!r} with head {loaded.head!r}; "
            "convert --to=fnet_jax, which takes any"
        )
    table = google_model.name_table(loaded.head, model, ())
    target = nested(dict(scatter(table, flat(loaded.variables["params"]))))
    with atomic_file(path) as file:
        file.writelines(_packed({"target": target}))


def _packed(tree: Any) -> Iterator[bytes]:
    """A tree in the format of Flax, one tensor after the other: all at once it would be there twice."""
    if not isinstance(tree, dict):
        yield flax.serialization.msgpack_serialize(tree)
        return
    yield struct.pack(">BI", 0xDF, len(tree))  # a map of so many entries
    for name, part in tree.items():
        yield flax.serialization.msgpack_serialize(name)
        yield from _packed(part)


def _file(path: str) -> str:
    """The file that `path` names, or the newest checkpoint in the folder."""
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        steps = [int(name[11:]) for name in os.listdir(path) if re.fullmatch(r"checkpoint_\d+", name)]
        if not steps:
            raise UserError(f"{path} holds no file checkpoint_STEP; name the checkpoint's file itself")
        path = os.path.join(path, f"checkpoint_{max(steps)}")
    if not os.path.isfile(path):
        raise UserError(f"{path} is no file; name a checkpoint in Flax's msgpack format")
    return path


def _parameters(path: str, tree: Tree) -> Tensors:
    """The parameters: under `target` (flax.optim), under `params` (TrainState), or alone."""
    for part in (tree.get("target"), tree.get("params"), tree):
        if isinstance(part, dict) and "encoder" in part:
            return _tensors(part)
    raise UserError(
        f"{path} holds no parameters of an FNet: there is no `encoder` in it, nor in its `target` or `params`"
    )


def _optimizer(path: str, tree: Tree) -> tuple[int, Tensors, Tensors]:
    """The step, and both moments."""
    if isinstance(old := tree.get("state"), dict):
        step, states = old.get("step"), _tensors(old.get("param_states"))
        mean, square = (
            {name.removesuffix(end): states[name] for name in states if name.endswith(end)}
            for end in ("/grad_ema", "/grad_sq_ema")
        )
    else:
        step, adam = tree.get("step"), _adam(tree.get("opt_state"))
        mean, square = (_tensors(adam.get(name)) for name in ("mu", "nu"))
    if isinstance(step, FileTensor) and step.shape == ():
        step = int(step.read())
    if not isinstance(step, int) or not mean or not square:
        raise UserError(f"{path} holds no state of Adam; convert it without")
    return step, mean, square


def _adam(tree: Any) -> Tree:
    """The state of Adam among those of chained transformations, or nothing."""
    if not isinstance(tree, dict) or {"mu", "nu"} <= tree.keys():
        return tree if isinstance(tree, dict) else {}
    return next((found for part in tree.values() if (found := _adam(part))), {})


def _tensors(tree: Any) -> dict[str, FileTensor]:
    leaves = flat(tree) if isinstance(tree, dict) else {}
    return {name: leaf for name, leaf in leaves.items() if isinstance(leaf, FileTensor)}
