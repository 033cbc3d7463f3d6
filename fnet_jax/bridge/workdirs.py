"""Models in workdirs of `train.py`: read from a checkpoint, written as one checkpoint."""

from typing import Any

import jax
import numpy as np

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import Loaded, find_tokenizer, head_of
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CONFIG_FILE, save_config, saved_config
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.checkpoints.find import find_checkpoint
from fnet_jax.train.state import TrainState


def read(folder: str, step: int | None = None) -> Loaded:
    """Reads the parameters of a run.

    Args:
        folder: a workdir, or one checkpoint folder WORKDIR/checkpoints/STEP.
        step: as for `find_checkpoint`.

    Raises:
        UserError: if there is no such checkpoint, or it is damaged.
    """
    workdir, step = find_checkpoint(folder, step)
    config = saved_config(workdir)
    if config is None:
        raise UserError(f"{workdir} holds no {CONFIG_FILE}; put back the one that training left there")
    checkpointer = Checkpointer(workdir, read_only=True)
    try:
        head = head_of(config, checkpointer.shapes(step))
        abstract = {"constants": {}, **abstract_variables(head, config.model)}
        # Arrays of NumPy stand for themselves in what Orbax is told to restore; these take no memory.
        hosted = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), abstract)
        variables = dict(checkpointer.restore_variables(step, hosted))
    finally:
        checkpointer.close()
    if not variables["constants"]:
        del variables["constants"]
    return Loaded(config, head, variables, find_tokenizer(workdir))


def write(loaded: Loaded, folder: str, step: int = 0, opt_state: Any = None) -> None:
    """Makes an empty folder a workdir with the model as the checkpoint of `step`.

    `init_from`, eval.py and predict open it; a run goes on in it only with an `opt_state`, as
    `train.optim.make_optimizer(loaded.config.optim, ...)` has it.
    """
    save_config(loaded.config, folder)
    loaded.copy_tokenizer(folder)
    variables = {"constants": {}, **loaded.variables}
    checkpointer = Checkpointer(folder)
    checkpointer.save(step, TrainState(step=np.int32(step), opt_state=opt_state, **variables))
    checkpointer.wait()
    checkpointer.close()
