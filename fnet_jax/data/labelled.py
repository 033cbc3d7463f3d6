"""Opens the labelled data of a task, wherever they come from."""

import dataclasses

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data.glue_files import read_glue
from fnet_jax.data.own_files import read_own
from fnet_jax.data.splits import LabelledData, LabelledSplit, choose
from fnet_jax.data.tasks import GLUE, TASKS

__all__ = ["LabelledData", "LabelledSplit", "open_labelled"]


def open_labelled(task_name: str, data: DataConfig, seed: int) -> LabelledData:
    """Reads the splits of a task.

    Args:
        task_name: of `tasks.TASKS`.
        data: where they are, and how many examples to use.
        seed: chooses the examples of `data.max_train_examples`.

    Returns:
        All splits that are there. Validation and test splits may be missing; a caller that needs one
        asks with `LabelledData.split`.

    Raises:
        UserError: if there are no files, or one is damaged; names file and line.
    """
    task = TASKS[task_name]
    if task_name in GLUE:
        found = read_glue(task, data)
    elif task_name in ("classify", "regress"):
        found = read_own(task, data)
    else:
        raise UserError(f"task={task_name!r} has no labelled data")
    return _limit(_say_what_is_not_whole(found), data, seed)


def _say_what_is_not_whole(found: LabelledData) -> LabelledData:
    remarks = [
        f"{found.task.title} {split.name}: {len(split):,} of {split.official_rows:,} official examples "
        f"({split.source}); figures on it compare with no table"
        for split in found.splits.values()
        if not split.is_whole
    ]
    remarks += [f"{found.task.title} {name}: {what}" for name, what in found.missing.items()]
    return dataclasses.replace(found, remarks=(*found.remarks, *remarks))


def _limit(found: LabelledData, data: DataConfig, seed: int) -> LabelledData:
    """Applies `data.max_train_examples` and `data.max_eval_examples`; a test split stays whole."""
    splits = dict(found.splits)
    remarks = list(found.remarks)
    for name, split in found.splits.items():
        if name == "train":
            splits[name], key = choose(split, data.max_train_examples, seed), "max_train_examples"
        elif name in found.task.validation_splits and 0 < data.max_eval_examples < len(split):
            splits[name], key = split.take(range(data.max_eval_examples)), "max_eval_examples"
        if len(splits[name]) < len(split):
            remarks.append(
                f"{found.task.title} {name}: {len(splits[name]):,} of {len(split):,} examples (data.{key})"
            )
    return dataclasses.replace(found, splits=splits, remarks=tuple(remarks))
