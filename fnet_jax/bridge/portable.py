"""Models in our own names: config.json, model.safetensors and tokenizer.model in a folder; any model."""

import os
import shutil
from typing import Any

import jax

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import Loaded, bare_head, flat, nested
from fnet_jax.bridge.name_tables import Row, gather, scatter
from fnet_jax.bridge.tensor_files import SAFETENSORS, open_tensors, require_floats, save_tensors
from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.mesh import path_str
from fnet_jax.core.workdir import CONFIG_FILE, TOKENIZER_FILE, save_config, saved_config
from fnet_jax.tasks.kinds import kind_of


def read(folder: str) -> Loaded:
    """Reads a folder that `write` left.

    Raises:
        UserError: if a file is missing or damaged, or the tensors do not fit the config, naming all of them.
    """
    config = saved_config(folder)
    if config is None:
        raise UserError(f"{folder} holds no {CONFIG_FILE}")
    source, tensors = open_tensors(folder)
    require_floats(source, tensors)
    head = bare_head(kind_of(config).head, list(tensors))
    variables: dict[str, Any] = nested(gather(source, _rows(head, config.model), tensors))
    tokenizer = os.path.join(folder, TOKENIZER_FILE)
    return Loaded(config, head, variables, tokenizer if os.path.exists(tokenizer) else None)


def write(loaded: Loaded, folder: str) -> None:
    """Writes the model into `folder`, which exists and is empty."""
    tensors = dict(scatter(_rows(loaded.head, loaded.config.model), flat(loaded.variables)))
    save_tensors(tensors, os.path.join(folder, SAFETENSORS), {"format": "fnet_jax"})
    save_config(loaded.config, folder)
    if loaded.tokenizer_path:
        shutil.copyfile(loaded.tokenizer_path, os.path.join(folder, TOKENIZER_FILE))


def _rows(head: Head, model: ModelConfig) -> list[Row]:
    """A tensor for each variable, of the same name and shape."""
    leaves = jax.tree_util.tree_leaves_with_path(abstract_variables(head, model))
    return [Row(path_str(key), leaf.shape, (path_str(key),), leaf.shape) for key, leaf in leaves]
