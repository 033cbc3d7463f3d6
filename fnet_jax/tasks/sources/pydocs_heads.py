"""Embedded data for the tasks `tag`, `choose` and `answer`: what docstrings say, and how they mark it.

| task | from the docstrings of the installed libraries |
|---|---|
| tag | which words of a paragraph does the author mark as code? The marks are taken away |
| choose | which of four sentences follows a sentence? The other three follow others of the same library |
| answer | which type has a parameter? The context is the list of the parameters, as prose |

What is held out depends on the hash of the text, so equal texts stay together; similar ones do not, and
docstrings are copied and adapted: scores flatter.
"""

import re
from collections.abc import Iterator

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.data import pydocs
from fnet_jax.data.segments import document_hash
from fnet_jax.data.shuffle import permute
from fnet_jax.data.text import sentences
from fnet_jax.tasks.answer.squad import Answer, QuestionSplit
from fnet_jax.tasks.choose.swag import ChoiceSplit
from fnet_jax.tasks.files.own_files import complete
from fnet_jax.tasks.splits import LabelledData
from fnet_jax.tasks.table import Task
from fnet_jax.tasks.tag.conll import TaggedSplit

SOURCE = "pydocs"
TAGS = ("O", "B-CODE", "I-CODE")
NUM_CHOICES = 4
_MIN_WORDS = 6  # of a sentence to go on from, or with
_SEED = 0

_WORD = re.compile(r"\w+(?:[.'_-]\w+)*|[^\w\s]")
_PARAMETERS = re.compile(r"^Parameters\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"^(\w+) ?: (\S[^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)*)", re.MULTILINE)


def read_code_words(task: Task, data: DataConfig) -> LabelledData[TaggedSplit]:
    """Paragraphs in which something is marked as code, with the tags `TAGS`.

    Args:
        task: tag.
        data: `holdout_fraction` is the share of the validation split.
    """
    found: dict[tuple[str, ...], list[int]] = {}
    for library in pydocs.LIBRARIES:
        for docstring in pydocs.library_docstrings(library):
            for _, marked in pydocs.prose(docstring):
                words, labels = _tagged(marked)
                if any(labels) and len(words) >= _MIN_WORDS:
                    found.setdefault(tuple(words), labels)
    arrays = [np.array(value, np.int32) for value in found.values()]
    split = TaggedSplit("train", [list(words) for words in found], arrays, list(range(len(found))), SOURCE)
    return complete(task, TAGS, {"train": split}, data)


def _tagged(marked: str) -> tuple[list[str], list[int]]:
    words: list[str] = []
    labels: list[int] = []
    for text, is_code in pydocs.literals(marked):
        here = _WORD.findall(text)
        words += here
        labels += [(1 if number == 0 else 2) if is_code else 0 for number in range(len(here))]
    return words, labels


def read_next_sentences(task: Task, data: DataConfig) -> LabelledData[ChoiceSplit]:
    """Sentences with the one that follows and three that follow others.

    Args:
        task: choose.
        data: `holdout_fraction` is the share of the validation split.
    """
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
    ids = list(range(len(contexts)))
    split = ChoiceSplit("train", contexts, choices, np.array(labels, np.int32), ids, SOURCE)
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


def read_parameters(task: Task, data: DataConfig) -> LabelledData[QuestionSplit]:
    """Questions for the types of parameters, whose answers stand in lists of parameters as numpydoc has them.

    Args:
        task: answer.
        data: `holdout_fraction` is the share of the validation split.
    """
    questions: list[str] = []
    contexts: list[str] = []
    answers: list[list[Answer]] = []
    seen = set()
    for library in pydocs.LIBRARIES:
        for docstring in pydocs.library_docstrings(library):
            context, found = _parameters(docstring)
            if context in seen or len(found) < 2:
                continue
            seen.add(context)
            questions += [f"Which type has {name}?" for name in found]
            contexts += [context] * len(found)
            answers += [[answer] for answer in found.values()]
    ids = [str(number) for number in range(len(questions))]
    split = QuestionSplit("train", questions, contexts, answers, ids, SOURCE)
    return complete(task, (), {"train": split}, data)


def _parameters(docstring: str) -> tuple[str, dict[str, Answer]]:
    """The parameters of a docstring as prose, and the type of each."""
    context = ""
    types: dict[str, Answer] = {}
    section = _PARAMETERS.search(docstring)
    for name, kind, description in _PARAMETER.findall(section[1] if section else ""):
        context += f"{name} : "
        types.setdefault(name, Answer(kind.strip(), len(context)))
        context += f"{kind.strip()}. {' '.join(description.split())} "
    return context.strip(), types
