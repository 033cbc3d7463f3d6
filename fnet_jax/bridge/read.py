"""Opens a model, whatever holds it: a workdir, our portable folder, a folder of Hugging Face's."""

import os

from fnet_jax.bridge import portable, workdirs
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.loaded import Loaded
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CHECKPOINT_DIR, CONFIG_FILE, read_json, workdir_of


def read(folder: str, step: int | None = None) -> Loaded:
    """Reads a model; no device is used.

    Args:
        folder: a workdir or a checkpoint in it; a folder with `config.json` and `model.safetensors`, in our
            names or in those of transformers.
        step: of a workdir's checkpoint; by default the best one where it keeps the best, or the newest.

    Raises:
        UserError: if there is no model, or it is damaged.
    """
    workdir = workdir_of(folder)
    if os.path.isdir(os.path.join(workdir, CHECKPOINT_DIR)):
        return workdirs.read(folder, step)
    if not os.path.isdir(workdir):
        raise UserError(f"{folder} is no folder; name a workdir, or a folder with {CONFIG_FILE}")
    if step is not None:
        raise UserError(f"{folder} holds no checkpoints of steps; leave out step={step}")
    values = read_json(os.path.join(workdir, CONFIG_FILE))
    if "model_type" in values:
        return huggingface.read(workdir)
    if "task" not in values:
        raise UserError(
            f"{os.path.join(workdir, CONFIG_FILE)} is neither a config of fnet_jax nor one of transformers"
        )
    return portable.read(workdir)
