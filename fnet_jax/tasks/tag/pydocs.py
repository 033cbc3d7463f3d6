"""Embedded data for tagging: which words of a docstring's paragraph does the author mark as code?

The marks are taken away.
What is held out depends on the hash of the text, so equal texts stay together; similar ones do not, and
docstrings are copied and adapted: scores flatter.
"""

import re

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.data import pydocs
from fnet_jax.tasks.files.own_files import complete
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import Task
from fnet_jax.tasks.tag.files import TagSplit

TAGS = ("O", "B-CODE", "I-CODE")
_MIN_WORDS = 6
_WORD = re.compile(r"\w+(?:[.'_-]\w+)*|[^\w\s]")


def read_tag_pydocs(task: Task, data: DataConfig) -> TaskData[TagSplit]:
    """Paragraphs in which something is marked as code, with the tags `TAGS`."""
    found: dict[tuple[str, ...], list[int]] = {}
    for library in pydocs.LIBRARIES:
        for docstring in pydocs.library_docstrings(library):
            for _, marked in pydocs.prose(docstring):
                words, labels = _tagged(marked)
                if any(labels) and len(words) >= _MIN_WORDS:
                    found.setdefault(tuple(words), labels)
    arrays = [np.array(value, np.int32) for value in found.values()]
    sentences = [list(words) for words in found]
    ids = list(range(len(sentences)))
    split = TagSplit(name="train", ids=ids, source="pydocs", words=sentences, labels=arrays)
    return complete(task, TAGS, {"train": split}, data)


def _tagged(marked: str) -> tuple[list[str], list[int]]:
    words: list[str] = []
    labels: list[int] = []
    for text, is_code in pydocs.literals(marked):
        here = _WORD.findall(text)
        words += here
        labels += [(1 if number == 0 else 2) if is_code else 0 for number in range(len(here))]
    return words, labels
