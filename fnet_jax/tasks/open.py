"""Opens the data of a config's task: the splits of a labelled one, and the data set that training reads."""

import dataclasses
from typing import Any

from fnet_jax.core.config import Config, DataConfig
from fnet_jax.tasks.interface import Dataset
from fnet_jax.tasks.kinds import KINDS, kind_of
from fnet_jax.tasks.splits import TaskData, choose, hold_out
from fnet_jax.tasks.table import TASKS

_EVAL_SEED = 0


def open_dataset(config: Config, workdir: str) -> Dataset:
    """The data of the config's task; prepares what is to be prepared.

    Raises:
        UserError: whatever does not fit.
    """
    dataset = kind_of(config).dataset
    if config.is_pretraining:
        return dataset(config, workdir)
    return dataset(config, workdir, open_labelled(config.task, config.data, config.seed))


def open_labelled(task_name: str, data: DataConfig, seed: int) -> TaskData[Any]:
    """Reads all splits of a task that are there; `seed` chooses the examples of `data.max_train_examples`.

    Raises:
        UserError: if there are no files, or one is damaged; names file and line.
    """
    task = TASKS[task_name]
    kind = KINDS[task.kind]
    read = kind.read_pydocs if data.corpus == "pydocs" and kind.read_pydocs else kind.read
    assert read is not None
    return _limit(_compare_with_official(read(task, data), data), data, seed)


def _compare_with_official(found: TaskData[Any], data: DataConfig) -> TaskData[Any]:
    """Says what lacks of the official splits; a validation split that there is not is held out."""
    task, warnings = found.task, list(found.warnings)
    splits = {
        name: dataclasses.replace(split, official_rows=task.official_rows(name, len(split)))
        for name, split in found.splits.items()
    }
    if "train" in splits and not any(name.startswith("validation") for name in (*splits, *task.rows)):
        train = splits["train"]
        splits |= hold_out(train, data.holdout_fraction)
        warnings.append(
            f"{task.title} validation: {len(splits['validation']):,} of the {len(train):,} training examples "
            f"of {train.source}, held out by the hash of their text (data.holdout_fraction="
            f"{data.holdout_fraction})"
        )
    warnings += [
        f"{task.title} {split.name}: {len(split):,} of {split.official_rows:,} official examples "
        f"({split.source}); figures on it compare with no table"
        for split in splits.values()
        if not split.is_whole
    ]
    warnings += [  # a test split is missed when it is asked for
        f"{task.title} {name}: {what}" for name, what in found.missing.items() if not name.startswith("test")
    ]
    return dataclasses.replace(found, splits=splits, warnings=tuple(warnings))


def _limit(found: TaskData[Any], data: DataConfig, seed: int) -> TaskData[Any]:
    """Applies `data.max_train_examples` and `data.max_eval_examples`; a test split stays whole."""
    splits = dict(found.splits)
    warnings = list(found.warnings)
    for name, split in found.splits.items():
        if name == "train":
            splits[name], key = choose(split, data.max_train_examples, seed), "max_train_examples"
        elif name in found.task.validation_splits:  # the same whatever the seed, and from all over the file
            splits[name], key = choose(split, data.max_eval_examples, _EVAL_SEED), "max_eval_examples"
        if len(splits[name]) < len(split):
            warnings.append(
                f"{found.task.title} {name}: {len(splits[name]):,} of {len(split):,} examples (data.{key})"
            )
    return dataclasses.replace(found, splits=splits, warnings=tuple(warnings))
