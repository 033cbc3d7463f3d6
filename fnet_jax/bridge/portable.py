"""Models in our own names: config.json, model.safetensors and tokenizer.model in a folder; any model."""

import os
from typing import Any

from fnet_jax.bridge.inputs import abstract_variables
from fnet_jax.bridge.loaded import Loaded, find_tokenizer, flat, head_of, nested
from fnet_jax.bridge.name_tables import TensorMapping, gather, scatter
from fnet_jax.bridge.tensor_files import SAFETENSORS, open_tensors, require_floats, save_tensors
from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import CONFIG_FILE, save_config, saved_config


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
    head = head_of(config, tensors)
    variables: dict[str, Any] = nested(gather(source, _name_table(head, config.model), tensors))
    return Loaded(config, head, variables, find_tokenizer(folder))


def write(loaded: Loaded, folder: str) -> None:
    """Writes the model into `folder`, which exists and is empty."""
    tensors = dict(scatter(_name_table(loaded.head, loaded.config.model), flat(loaded.variables)))
    save_tensors(tensors, os.path.join(folder, SAFETENSORS), {"format": "fnet_jax"})
    save_config(loaded.config, folder)
    loaded.copy_tokenizer(folder)


def _name_table(head: Head, model: ModelConfig) -> list[TensorMapping]:
    """A tensor for each variable, of the same name and shape."""
    leaves = flat(abstract_variables(head, model))
    return [TensorMapping(path, leaf.shape, (path,), leaf.shape) for path, leaf in leaves.items()]
