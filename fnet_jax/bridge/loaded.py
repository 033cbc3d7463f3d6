"""A model in memory, on its way between two kinds of files."""

import dataclasses
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

import flax.traverse_util

from fnet_jax.core.checks import check
from fnet_jax.core.config import Config, DataConfig, Head, ModelConfig
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.tasks.kinds import KINDS, kind_of


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model without devices.

    Attributes:
        config: of its run, or as much as is known of it.
        head: of the model.
        variables: `params`, and `constants` where the model has them, as NumPy arrays; names and layout as
            `make_model(head, config.model)` has them, with a leading axis for the layers of a run.
        tokenizer_path: of its SentencePiece model, if it has one.
    """

    config: Config
    head: Head
    variables: dict[str, Any]
    tokenizer_path: str | None

    def copy_tokenizer(self, folder: str, name: str = TOKENIZER_FILE) -> None:
        """Puts the tokenizer into a folder, if there is one."""
        if self.tokenizer_path:
            shutil.copyfile(self.tokenizer_path, os.path.join(folder, name))


def find_tokenizer(folder: str, *names: str) -> str | None:
    """The SentencePiece model in a folder, by the first of its possible names that is there."""
    paths = (os.path.join(folder, name) for name in names or (TOKENIZER_FILE,))
    return next((path for path in paths if os.path.isfile(path)), None)


def run_config(
    head: Head, model: ModelConfig, labels: Sequence[str] = (), regression: bool = False
) -> Config:
    """A config for training `model` further; all but the model by default.

    Args:
        head: of the model, which tells the task.
        model: with all sizes.
        labels: names of the classes.
        regression: the head `sequence` gives a number.

    Raises:
        UserError: if the model cannot work.
    """
    data = DataConfig(
        labels=tuple(labels),
        max_predictions_per_seq=max(1, model.max_seq_length * 5 // 32),  # 80 of 512, as the original
    )
    # Kinds of tasks have the names of the tasks that train them on files of one's own.
    tasks: Any = {"encoder": "pretrain"} | {kind.head: name for name, kind in KINDS.items()}
    config = Config(task="regress" if regression else tasks[head], model=model, data=data)
    check(config)
    return config


def flat(variables: dict[str, Any]) -> dict[str, Any]:
    """Path, such as "params/encoder/pooler/bias", -> array."""
    return flax.traverse_util.flatten_dict(variables, sep="/")


def nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    return flax.traverse_util.unflatten_dict(arrays, sep="/")


def head_of(config: Config, names: Iterable[str]) -> Head:
    """The head of the task, or "encoder" if no parameter of a head is among the paths `params/...`."""
    is_bare = all(name.startswith(("params/encoder/", "constants/")) for name in names)
    return "encoder" if is_bare else kind_of(config).head
