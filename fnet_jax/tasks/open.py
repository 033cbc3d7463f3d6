"""Opens the labelled data of a task, wherever they come from."""

import dataclasses
from collections.abc import Callable

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.data.tfds_sets import PREFIX
from fnet_jax.tasks.answer.squad import read_questions
from fnet_jax.tasks.choose.swag import read_choices
from fnet_jax.tasks.files.own_files import read_own
from fnet_jax.tasks.sources.ag_news import read_ag_news, with_held_out
from fnet_jax.tasks.sources.glue import read_glue
from fnet_jax.tasks.sources.pydocs_heads import read_code_words, read_next_sentences, read_parameters
from fnet_jax.tasks.sources.pydocs_task import read_pydocs
from fnet_jax.tasks.sources.tfds import FIELDS, read_tfds
from fnet_jax.tasks.splits import LabelledData, LabelledSplit, choose
from fnet_jax.tasks.table import TASKS, Task
from fnet_jax.tasks.tag.conll import read_tagged

__all__ = ["LabelledData", "LabelledSplit", "open_labelled"]

Reader = Callable[[Task, DataConfig], LabelledData]

# The tasks on files of one's own.
OWN_READERS: dict[str, Reader] = {
    "classify": read_own,
    "regress": read_own,
    "tag": read_tagged,
    "choose": read_choices,
    "answer": read_questions,
}
# The same tasks on embedded data, data.corpus='pydocs'.
EMBEDDED_READERS: dict[str, Reader] = {
    "tag": read_code_words,
    "choose": read_next_sentences,
    "answer": read_parameters,
}
_EVAL_SEED = 0


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
    found = _reader(task_name, data)(task, data)
    if task_name == "ag_news":
        found = with_held_out(found, data.holdout_fraction)
    return _limit(_say_what_is_not_whole(found), data, seed)


def _reader(task_name: str, data: DataConfig) -> Reader:
    if task_name == "pydocs":
        return read_pydocs
    if task_name in EMBEDDED_READERS and data.corpus == "pydocs":
        return EMBEDDED_READERS[task_name]
    if task_name in OWN_READERS:
        return OWN_READERS[task_name]
    if data.corpus.startswith(PREFIX) and task_name in FIELDS:
        return read_tfds
    if data.corpus not in ("", "pydocs"):  # pydocs is the default of the key
        raise UserError(
            f"data.corpus={data.corpus!r} is not read by task={task_name!r}; give the folder of its files as "
            "data.dir, or data.corpus='tfds:NAME'"
        )
    return read_ag_news if task_name == "ag_news" else read_glue


def _say_what_is_not_whole(found: LabelledData) -> LabelledData:
    warnings = [
        f"{found.task.title} {split.name}: {len(split):,} of {split.official_rows:,} official examples "
        f"({split.source}); figures on it compare with no table"
        for split in found.splits.values()
        if not split.is_whole
    ]
    warnings += [  # a test split is missed when it is asked for
        f"{found.task.title} {name}: {what}"
        for name, what in found.missing.items()
        if not name.startswith("test")
    ]
    return dataclasses.replace(found, warnings=(*found.warnings, *warnings))


def _limit(found: LabelledData, data: DataConfig, seed: int) -> LabelledData:
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
