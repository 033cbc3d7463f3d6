"""Task `tag`: a tag for every word, from files in columns as those of the CoNLL shared tasks."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import write_atomically
from fnet_jax.tasks.files.own_files import complete, paths_of
from fnet_jax.tasks.splits import Split, TaskData, class_ids
from fnet_jax.tasks.table import Task
from fnet_jax.tasks.tag import schemes as tag_schemes
from fnet_jax.tasks.tag.conll import ConllFile, in_columns, read_conll

SUFFIXES = (".conll", ".bio", ".iob", ".iob2", ".tsv", ".txt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TagSplit(Split):
    """Sentences of words with a tag each; columns as in `Split`, and

    Attributes:
        words: N lists of words.
        labels: N arrays i32, a class id per word; None where the source has no tags.
    """

    words: list[list[str]]
    labels: list[np.ndarray] | None = None

    def example(self, row: int) -> tuple[str, ...]:
        """The words with spaces between them."""
        return (" ".join(self.words[row]),)


def read_tag(task: Task, data: DataConfig) -> TaskData[TagSplit]:
    """Reads the files of `data.corpus`, `data.validation` and `data.test`.

    A line is a word and its columns, divided by tabs, or by spaces where there is no tab; an empty line
    ends a sentence. `data.word_column` and `data.tag_column` say which columns count. Lines that begin with
    -DOCSTART- are passed over, and comments ("# ...") with another number of columns. A file with one column
    has no tags. IOB1 becomes IOB2; everything else stays as it is. `data.labels` are the tags in the order of
    their ids.

    Raises:
        UserError: naming file and line, or the key.
    """
    files = {name: read_conll(path, data) for name, path in paths_of(task, data, SUFFIXES).items()}
    if files["train"].tags is None:
        raise UserError(f"{files['train'].path} has one column, so no tags to train on")
    schemes = {
        name: tag_schemes.scheme_of(file.tags, file.where) for name, file in files.items() if file.tags
    }
    warnings = [
        f"{name}: IOB1 tags of {files[name].path} were turned into IOB2"
        for name, scheme in schemes.items()
        if scheme == "IOB1"
    ]
    files = {name: _in_iob2(file) if schemes.get(name) == "IOB1" else file for name, file in files.items()}
    train = files["train"]
    labels = data.labels or tag_schemes.labels_of(train.tags or [], schemes["train"])
    if len(labels) < 2:
        raise UserError(f"{train.path}: all tags are {labels[0]!r}; a tagger needs two at least")
    found = complete(task, labels, {name: _split(name, file, labels) for name, file in files.items()}, data)
    return dataclasses.replace(found, warnings=(*warnings, *found.warnings))


def _in_iob2(file: ConllFile) -> ConllFile:
    return dataclasses.replace(
        file, tags=[tag_schemes.iob1_to_iob2(sentence) for sentence in file.tags or []]
    )


def _split(name: str, file: ConllFile, labels: tuple[str, ...]) -> TagSplit:
    ids = None
    if file.tags is not None:
        places = [(i, j) for i, sentence in enumerate(file.tags) for j in range(len(sentence))]
        flat = class_ids([file.tags[i][j] for i, j in places], labels, lambda row: file.where(*places[row]))
        ids = np.split(flat, np.cumsum([len(sentence) for sentence in file.tags])[:-1])
    rows = list(range(len(file.words)))
    return TagSplit(name=name, ids=rows, source=file.path, words=file.words, labels=ids)


def write_conll(path: str, split: TagSplit, names: Sequence[str], predicted: Sequence[np.ndarray]) -> None:
    """Writes a line per word: the word, its tag where the split has tags, the predicted one; tabs between.

    A sentence ends with an empty line, so that conlleval reads the file (with `-d '\\t'`). `names` are the
    tags by id; `predicted` has a class id per word, an array for each of the N sentences.
    """
    parts = []
    for number, words in enumerate(split.words):
        ids = [*([split.labels[number]] if split.labels else []), predicted[number]]
        parts.append(in_columns([words, *([names[label] for label in labels] for labels in ids)]))
    write_atomically(path, "".join(parts).encode())
