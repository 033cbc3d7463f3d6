"""Files of one's own: where each split is, and what is held out where one is missing."""

import os
from collections.abc import Sequence

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.tables import SUFFIXES, Table, read_table
from fnet_jax.tasks.splits import SplitT, TaskData, hold_out
from fnet_jax.tasks.table import Task

# Names of the files in a folder, without suffix.
STEMS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}


def complete(
    task: Task, labels: tuple[str, ...], splits: dict[str, SplitT], data: DataConfig
) -> TaskData[SplitT]:
    """A data set of one's own files: holds out a validation split where there is none.

    Raises:
        UserError: if nothing would be left to train on.
    """
    warnings = []
    if "validation" not in splits:
        train = splits["train"]
        splits |= hold_out(train, data.holdout_fraction)
        warnings.append(
            f"validation: {len(splits['validation']):,} of the {len(train):,} examples of {train.source}, "
            f"held out by the hash of their text (data.holdout_fraction={data.holdout_fraction})"
        )
    else:
        train, validation = splits["train"], splits["validation"]
        known = {train.example(row) for row in range(len(train))}
        if repeated := sum(validation.example(row) in known for row in range(len(validation))):
            warnings.append(
                f"validation: {repeated:,} of {len(validation):,} examples have their text in the training "
                "split too, so scores flatter"
            )
    missing = {} if "test" in splits else {"test": "no data.test, and no file test.* in data.corpus"}
    return TaskData(task, labels, splits, tuple(warnings), missing)


def paths_of(task: Task, data: DataConfig, suffixes: Sequence[str] = SUFFIXES) -> dict[str, str]:
    """The file of each split, by name: those that `data` names, or with such suffixes in the folder it names.

    Raises:
        UserError: naming the key, if there is no such file.
    """
    place = os.path.expanduser(data.corpus)
    if os.path.isfile(place):
        paths = {"train": place}
    elif os.path.isdir(place):
        paths = _in_folder(place, suffixes)
    else:
        embedded = "" if task.kind == "classify" else "pydocs, "
        raise UserError(
            f"data.corpus={data.corpus!r} is no file or folder; task={task.name!r} reads {embedded}"
            f"{', '.join(suffixes)} files (also .gz) of your own, or a folder with train and test files"
        )
    given = {"validation": data.validation, "test": data.test}
    for name, path in given.items():
        if path:
            paths[name] = os.path.expanduser(path)
            if not os.path.isfile(paths[name]):
                raise UserError(f"data.{name}={path!r} is no file")
    return paths


def read_split(
    split: str, path: str, data: DataConfig, more: Sequence[str] = (), lists: Sequence[str] = ()
) -> Table:
    """The table of a split: its texts, and the label, which a test split may lack.

    `data` names the columns, `more` further ones of texts; for `lists` see `read_table`.

    Raises:
        UserError: naming file and line.
    """
    texts = [name for name in (data.text_field, data.text_b_field, *more) if name]
    required, optional = ([*texts, data.label_field], []) if split != "test" else (texts, [data.label_field])
    table = read_table(path, required, optional, lists=lists)
    if not table.lines:
        raise UserError(f"{path} has no rows")
    return table


def _in_folder(folder: str, suffixes: Sequence[str]) -> dict[str, str]:
    """The files of the splits in a folder."""
    files = sorted(name for name in os.listdir(folder) if name.removesuffix(".gz").endswith(tuple(suffixes)))
    paths = {}
    for split, stems in STEMS.items():
        found = [name for name in files if name.split(".")[0] in stems]
        if len(found) > 1:
            raise UserError(f"data.corpus={folder} has {' and '.join(found)} for {split}; keep one")
        if found:
            paths[split] = os.path.join(folder, found[0])
    if "train" not in paths:
        raise UserError(
            f"data.corpus={folder} has no train file; names: train, validation (or dev, valid), test, with "
            f"{', '.join(suffixes)}, also .gz"
        )
    return paths
