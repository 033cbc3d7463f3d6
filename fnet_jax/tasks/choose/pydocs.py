"""Embedded data for multiple choice: which of four sentences follows a sentence of a docstring?

The other three follow others of the same library.
What is held out depends on the hash of the text, so equal texts stay together; similar ones do not, and
docstrings are copied and adapted: scores flatter.
"""

from collections.abc import Iterator

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.data import pydocs
from fnet_jax.data.segments import document_hash
from fnet_jax.data.shuffle import permute
from fnet_jax.data.text import sentences
from fnet_jax.tasks.choose.files import ChooseSplit
from fnet_jax.tasks.files.own_files import complete
from fnet_jax.tasks.splits import TaskData
from fnet_jax.tasks.table import Task

NUM_CHOICES = 4
_MIN_WORDS = 6  # of a sentence to go on from, or with
_SEED = 0


def read_choose_pydocs(task: Task, data: DataConfig) -> TaskData[ChooseSplit]:
    """Sentences with the one that follows and three that follow others."""
    contexts: list[str] = []
    choices: list[list[str]] = []
    labels: list[int] = []
    for library in pydocs.LIBRARIES:
        pairs = list(dict(_neighbours(library)).items())
        for number, (first, second) in enumerate(pairs):
            # Neighbours in a random order, so that each is wrong about as often as it is right.
            places = np.arange(number, number + 2 * NUM_CHOICES) % len(pairs)
            others = dict.fromkeys(pairs[other][1] for other in permute(places, len(pairs), _SEED))
            texts = [text for text in others if text != second][: NUM_CHOICES - 1]
            if len(texts) < NUM_CHOICES - 1:
                continue
            labels.append(document_hash(first) % NUM_CHOICES)
            texts.insert(labels[-1], second)
            contexts.append(first)
            choices.append(texts)
    names = tuple(str(number) for number in range(NUM_CHOICES))
    split = ChooseSplit(
        name="train",
        ids=list(range(len(contexts))),
        source="pydocs",
        contexts=contexts,
        choices=choices,
        labels=np.array(labels, np.int32),
    )
    return complete(task, names, {"train": split}, data)


def _neighbours(library: str) -> Iterator[tuple[str, str]]:
    """The first two long sentences that follow each other, of each paragraph."""
    for document in pydocs.documents(library):
        for paragraph in document.split("\n"):
            found = sentences(paragraph)
            long = [len(sentence.split()) >= _MIN_WORDS for sentence in found]
            pairs = (i for i in range(len(found) - 1) if long[i] and long[i + 1])
            first = next(pairs, None)
            if first is not None:
                yield found[first], found[first + 1]
