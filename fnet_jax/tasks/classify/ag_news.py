"""AG News (Zhang, Zhao and LeCun 2015, arXiv 1509.01626) from its own files."""

import glob
import html
import os
import re

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.files.tables import read_table
from fnet_jax.tasks.splits import TaskData, class_ids
from fnet_jax.tasks.table import Task

_COLUMNS = ("class", "title", "description")
# The files have a space for the ampersand of many entities: "yesterday #39;s".
_ENTITY = re.compile(r"(?:[ &]|^)(#\d{2,5}|quot|amp|lt|gt|nbsp|hellip|[mn]dash|[lr][sd]quo);")


def read_ag_news(task: Task, data: DataConfig) -> TaskData:
    """Reads train.csv and test.csv in the folder `data.dir`.

    The test split is public and has labels. There is no official validation split.

    Raises:
        UserError: if no file is there, or one is damaged.
    """
    if not data.dir:
        raise UserError(
            "task='ag_news' needs data.dir, the folder with train.csv and test.csv, or "
            "data.corpus='tfds:ag_news_subset'"
        )
    folder = os.path.expanduser(data.dir)
    names = _class_names(task, folder)
    train = [os.path.join(folder, "train.csv"), *sorted(glob.glob(os.path.join(folder, "train_first*.csv")))]
    splits: dict[str, ClassifySplit] = {}
    missing: dict[str, str] = {}
    for name, paths in (("train", train), ("test", [os.path.join(folder, "test.csv")])):
        path = next((path for path in paths if os.path.isfile(path)), "")
        if path:
            splits[name] = _read_split(task, name, path, names)
        else:
            missing[name] = f"no file {name}.csv in {folder}"
    if not splits:
        raise UserError(f"data.dir={data.dir}: {'; '.join(missing.values())}")
    return TaskData(task, task.labels, splits, (), missing)


def clean(text: str) -> str:
    """Undoes what happened to the texts: backslashes for line breaks and dollar signs, broken entities."""
    text = _ENTITY.sub(lambda match: html.unescape(f"&{match[1]};"), text.replace("\\$", "$"))
    return " ".join(text.replace("\\", " ").split())


def _class_names(task: Task, folder: str) -> list[str]:
    """The names of the classes 1, 2, ...; classes.txt says so, else they are as in the official one."""
    path = os.path.join(folder, "classes.txt")
    if not os.path.isfile(path):
        return list(task.labels)
    names = read_table(path, ["name"], header=["name"]).columns["name"]
    if sorted(names) != sorted(task.labels):
        raise UserError(f"{path} names {', '.join(names)}; AG News has {', '.join(task.labels)}")
    return names


def _read_split(task: Task, name: str, path: str, names: list[str]) -> ClassifySplit:
    table = read_table(path, _COLUMNS, header=_COLUMNS)
    classes = class_ids(table.columns["class"], [str(i + 1) for i in range(len(names))], table.where)
    pairs = zip(table.columns["title"], table.columns["description"], strict=True)
    texts = [clean(" ".join(pair)) for pair in pairs]
    return ClassifySplit(
        name=name,
        texts=texts,
        labels=np.array([task.labels.index(label) for label in names], np.int32)[classes],
        ids=list(range(len(texts))),
        source=path,
    )
