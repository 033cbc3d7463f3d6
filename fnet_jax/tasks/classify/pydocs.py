"""The embedded labelled task: which library does this paragraph document?"""

import collections
import dataclasses
import re

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.data import pydocs
from fnet_jax.data.segments import document_hash
from fnet_jax.tasks.classify.files import ClassifySplit
from fnet_jax.tasks.splits import TaskData, hold_out, is_held_out
from fnet_jax.tasks.table import Task

MIN_WORDS = 20  # of a paragraph
MAX_EXAMPLES = 2000  # of a library, so that SciPy alone is not a third of all


def read_pydocs(task: Task, data: DataConfig) -> TaskData:
    """Paragraphs of the embedded corpus, labelled with their library.

    Paragraphs that differ only in digits, signs and case count once; those of two libraries are left
    out. The paragraphs of a document are all in the training or all in the validation split, so those
    that stand in documents of both are left out too.
    """
    labels = tuple(pydocs.LIBRARIES)
    found: dict[str, tuple[int, str, str]] = {}  # by what makes texts alike: label, text, document
    places: dict[str, set[tuple[int, bool]]] = collections.defaultdict(set)  # label, held out
    for label, library in enumerate(labels):
        for document in pydocs.documents(library):
            place = label, is_held_out(document, data.holdout_fraction)
            for text in document.split("\n"):
                if len(text.split()) >= MIN_WORDS:
                    found.setdefault(_likeness(text), (label, text, document))
                    places[_likeness(text)].add(place)
    rows = [example for key, example in found.items() if len(places[key]) == 1]
    rows = [example for label in range(len(labels)) for example in _cap([r for r in rows if r[0] == label])]
    everything = ClassifySplit(
        name="train",
        texts=[text for _, text, _ in rows],
        labels=np.array([label for label, _, _ in rows], np.int32),
        ids=list(range(len(rows))),
        source="pydocs",
    )
    splits = {
        name: dataclasses.replace(part, source=f"pydocs ({name}, {len(part):,} paragraphs)")
        for name, part in hold_out(everything, data.holdout_fraction, [row[2] for row in rows]).items()
    }
    warning = (
        f"pydocs validation: {len(splits['validation']):,} of {len(rows):,} paragraphs, held out by the hash "
        f"of their document (data.holdout_fraction={data.holdout_fraction})"
    )
    return TaskData(task, labels, splits, (warning,))


def _likeness(text: str) -> str:
    return re.sub(r"[\W\d_]+", " ", text.lower()).strip()


def _cap(examples: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """At most `MAX_EXAMPLES`, whole documents first by hash, in the order of the corpus."""
    by_hash = sorted(range(len(examples)), key=lambda i: (document_hash(examples[i][2] + "\0cap"), i))
    return [examples[i] for i in sorted(by_hash[:MAX_EXAMPLES])]
