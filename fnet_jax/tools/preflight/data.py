"""What `tools/preflight/__main__.py` finds out about the data of a run, without preparing any."""

import dataclasses
import hashlib
import json
import os
from typing import Any

from grain.sources import ArrayRecordDataSource

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.workdir import TOKENIZER_FILE
from fnet_jax.data.corpus import prepare
from fnet_jax.data.dataset import SPLITS, TOKEN_COUNTS_FILE, DatasetInfo
from fnet_jax.data.tokenizer import load_tokenizer
from fnet_jax.tasks.labelled import find_tokenizer
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.table import TASKS
from fnet_jax.train.concrete import DataFacts


@dataclasses.dataclass(frozen=True)
class Described:
    """The data of a run.

    Attributes:
        said: a sentence.
        facts: what a model needs to know of them.
        same: what must be equal on all hosts, by name.
    """

    said: str
    facts: DataFacts
    same: dict[str, Any]


def describe(config: Config, workdir: str) -> Described:
    """Looks at all files of a run's data.

    Raises:
        UserError: if they are not there, not whole, or made for another config.
    """
    return _pretraining(config, workdir) if config.is_pretraining else _labelled(config, workdir)


def _pretraining(config: Config, workdir: str) -> Described:
    directory = prepare.dataset_dir(config.data, workdir)
    info = prepare.check_existing(config.data, config.model.max_seq_length, directory)
    sizes = _check_files(info, directory)
    examples = info.splits["train"].segments
    return Described(
        f"{directory} holds {examples:,} examples in {len(sizes)} files, {info.vocab_size:,} pieces",
        DataFacts(info.vocab_size, (), 0),
        {
            "the data set": _digest(dataclasses.asdict(info)),
            "the tokenizer": info.tokenizer_sha256[:12],
            "sizes of the data set's files": _digest(sizes),
        },
    )


def _check_files(info: DatasetInfo, directory: str) -> dict[str, int]:
    """Sizes of all files, by name, after opening each.

    Raises:
        UserError: if one is missing, cut or another one.
    """
    sizes = {}
    names = [name for split in SPLITS for name in info.splits[split].files]
    for name in [TOKENIZER_FILE, TOKEN_COUNTS_FILE, *names]:
        try:
            sizes[name] = os.path.getsize(os.path.join(directory, name))
        except OSError as error:
            raise _damaged(directory, f"{name} cannot be read ({error.strerror})") from error
    if load_tokenizer(os.path.join(directory, TOKENIZER_FILE)).sha256 != info.tokenizer_sha256:
        raise _damaged(directory, f"{TOKENIZER_FILE} is not the tokenizer it was prepared with")
    for split in SPLITS:
        wanted = info.splits[split].segments
        paths = [os.path.join(directory, name) for name in info.splits[split].files]
        try:
            found = len(ArrayRecordDataSource(paths)) if paths else 0
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise _damaged(directory, f"a file of {split!r} is no array record ({reason})") from error
        if found != wanted:
            raise _damaged(directory, f"split {split!r} has {found:,} records, not {wanted:,}")
    return sizes


def _damaged(directory: str, reason: str) -> UserError:
    return UserError(
        f"data.dir={directory} is not whole: {reason}; copy it anew, or delete it and run "
        "python -m fnet_jax.tools.prepare"
    )


def _labelled(config: Config, workdir: str) -> Described:
    data = open_labelled(config.task, config.data, config.seed)
    same: dict[str, Any] = {"the labels": list(data.labels)}
    for name, split in data.splits.items():
        same[f"split {name!r}"] = split.digest()
    path = find_tokenizer(config, workdir)
    vocab_size, said = config.data.tokenizer_pieces, "a tokenizer will be trained"
    if path:
        tokenizer = load_tokenizer(path)
        vocab_size, said = tokenizer.vocab_size, f"tokenizer {path}"
        same["the tokenizer"] = tokenizer.sha256[:12]
    counts = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    facts = DataFacts(vocab_size, data.labels, TASKS[config.task].num_outputs(data.labels))
    return Described(f"{config.task}: {counts} examples; {said}", facts, same)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
