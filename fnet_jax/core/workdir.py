"""What a run leaves in its workdir for others: its resolved config, from which a model is known again."""

import dataclasses
import json
import os
from collections.abc import Collection
from typing import Any

from fnet_jax.core import config_dict
from fnet_jax.core.checks import check
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
CHECKPOINT_DIR = "checkpoints"
DAMAGED_DIR = "damaged"

_MAX_JSON_BYTES = 64 << 20

# The keys of `data` that say where a labelled task reads.
DATA_PLACES = ("dir", "corpus", "validation", "test")

# The keys of `model` that say which parameters it has.
MODEL_SHAPE = [
    "mixer",
    "num_attention_layers",
    "attention_layout",
    "num_layers",
    "d_model",
    "d_emb",
    "d_ff",
    "num_heads",
    "max_seq_length",
    "type_vocab_size",
    "vocab_size",
]


def saved_config(directory: str) -> Config | None:
    """The config that a run left in `directory`, or None.

    Keys that an older version did not have get their defaults.

    Raises:
        UserError: if the file is damaged.
    """
    path = os.path.join(directory, CONFIG_FILE)
    if not os.path.exists(path):
        return None
    return config_dict.from_dict(read_json(path), fill_up=True)


def read_json(path: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        UserError: if the file is missing, no JSON, no object, or unreasonably large.
    """
    try:
        if os.path.getsize(path) > _MAX_JSON_BYTES:
            raise UserError(
                f"{path} has more than {_MAX_JSON_BYTES >> 20} MiB, too much to be what it should"
            )
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object")
    return values


def save_config(config: Config, directory: str) -> None:
    """Leaves the resolved config in `directory`, whole or not at all."""
    with atomic_file(os.path.join(directory, CONFIG_FILE)) as file:
        file.write(json.dumps(config_dict.to_dict(config), indent=2).encode())


def workdir_of(path: str) -> str:
    """The workdir of `path`, which is one or a checkpoint folder WORKDIR/checkpoints/STEP in it."""
    path = os.path.abspath(os.path.expanduser(path))
    head, tail = os.path.split(path)
    is_checkpoint = os.path.basename(head) == CHECKPOINT_DIR and tail.isdigit()
    return os.path.dirname(head) if is_checkpoint else path


def set_aside(checkpoint: str) -> str:
    """Moves WORKDIR/checkpoints/STEP to WORKDIR/damaged/STEP, or STEP-2, ... where that is taken.

    Returns:
        The new place.
    """
    place = os.path.join(workdir_of(checkpoint), DAMAGED_DIR, os.path.basename(checkpoint))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    number, free = 2, place
    while os.path.exists(free):
        number, free = number + 1, f"{place}-{number}"
    os.rename(checkpoint, free)
    return free


def adopt_model(config: Config, overrides: Collection[str], workdir: str | None) -> Config:
    """Gives a task what it needs of the run that it goes on from: tokenizer, and all but pretrain its shape.

    That is the run in `workdir` itself if there is one, otherwise the one that `init_from` names. Keys
    set by hand stay; if they do not fit the checkpoint, restoring it says so. A run in `workdir` of the
    same task also tells where the data are, if the config does not. Pretraining, whose data are prepared,
    gets the tokenizer of `init_from` here: with another one its embeddings would be those of other tokens.

    Raises:
        UserError: if `init_from` names a folder without a config.
    """
    if config.is_pretraining and config.init_from and not config.data.tokenizer:
        tokenizer = os.path.join(workdir_of(config.init_from), TOKENIZER_FILE)
        if os.path.exists(tokenizer):
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, tokenizer=tokenizer))
    if config.task == "pretrain":
        return config
    source = saved_config(workdir) if workdir else None
    if source is not None and source.task == config.task:
        unsaid = [
            key for key in DATA_PLACES if not getattr(config.data, key) and f"data.{key}" not in overrides
        ]
        places = {key: getattr(source.data, key) for key in unsaid}
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, **places))
    if source is None and config.init_from:
        place = workdir_of(config.init_from)
        source = saved_config(place)
        if source is None:
            raise UserError(
                f"init_from={config.init_from} holds no {CONFIG_FILE}; name the --workdir of a training run"
            )
    if source is None:
        return config
    taken = {key: getattr(source.model, key) for key in MODEL_SHAPE if f"model.{key}" not in overrides}
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **taken))
    check(config)
    return config
