"""Reads a trained model, wherever it comes from."""

import dataclasses
import os
from typing import Any

import jax

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.schema import Head
from fnet_jax.core.workdir import CONFIG_FILE, saved_config
from fnet_jax.data.dataset import TOKENIZER_FILE
from fnet_jax.train.checkpoint import Checkpointer
from fnet_jax.train.objective import head_of, make_objective
from fnet_jax.train.resolve import resolve


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        config: of its run, or as much as is known of it.
        head: what it was trained for.
        variables: "params", and "constants" where it has fixed matrices; NumPy arrays.
        tokenizer_path: of the SentencePiece model; None where there is none.
    """

    config: Config
    head: Head
    variables: dict[str, Any]
    tokenizer_path: str | None


def read(folder: str, step: int | None = None) -> Loaded:
    """Reads the workdir of a run.

    Args:
        folder: of the run.
        step: of the checkpoint; see `train.resolve.resolve`.

    Raises:
        UserError: if there is no checkpoint, or it is damaged.
    """
    workdir, step = resolve(folder, step)
    config = saved_config(workdir)
    if config is None:
        raise UserError(f"{folder} holds no {CONFIG_FILE}; name the --workdir of a training run")
    objective = make_objective(config)
    host = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=host),
        {"constants": {}, **jax.eval_shape(objective.init, jax.random.key(0))},
    )
    checkpointer = Checkpointer(workdir, read_only=True)
    variables = jax.device_get(checkpointer.restore_variables(step, abstract))
    checkpointer.close()
    tokenizer = os.path.join(workdir, TOKENIZER_FILE)
    return Loaded(config, head_of(config), variables, tokenizer if os.path.exists(tokenizer) else None)
