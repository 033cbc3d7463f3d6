"""What a run leaves in its workdir for others: its resolved config, from which a model is known again."""

import filecmp
import json
import os
import shutil
from typing import Any

from fnet_jax.core import config_dict
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file, write_atomically

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.model"
CHECKPOINT_DIR = "checkpoints"
DAMAGED_DIR = "damaged"

_MAX_JSON_BYTES = 64 << 20


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
    write_atomically(os.path.join(directory, CONFIG_FILE), json.dumps(config_dict.to_dict(config), indent=2))


def leave_config(config: Config, tokenizer_path: str, directory: str) -> None:
    """Leaves config and tokenizer of a run in `directory`; says what changed since the last start.

    Raises:
        UserError: if they cannot be written; those of the last start are still there then.
    """
    saved = saved_config(directory)
    for line in config_dict.differences(saved, config) if saved else []:
        print(f"config changed since the last start: {line}")
    tokenizer = os.path.join(directory, TOKENIZER_FILE)
    try:
        if not os.path.exists(tokenizer) or not filecmp.cmp(tokenizer_path, tokenizer, shallow=False):
            with open(tokenizer_path, "rb") as source, atomic_file(tokenizer) as target:
                shutil.copyfileobj(source, target)
        save_config(config, directory)
    except OSError as error:
        raise UserError(
            f"--workdir={directory} cannot be written ({error.strerror}); make room or name another folder"
        ) from error


def workdir_of(path: str) -> str:
    """The workdir of `path`, which is one or a checkpoint folder WORKDIR/checkpoints/STEP in it."""
    path = os.path.abspath(os.path.expanduser(path))
    head, tail = os.path.split(path)
    is_checkpoint = os.path.basename(head) == CHECKPOINT_DIR and tail.isdigit()
    return os.path.dirname(head) if is_checkpoint else path
