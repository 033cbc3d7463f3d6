"""Files in columns, as those of the CoNLL shared tasks: a word a line, empty lines between sentences."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.reader import BadRecord, Record, decode, read_lines, read_text

_DOCUMENT = "-DOCSTART-"
Row = tuple[int, list[str]]  # number of the line, columns


@dataclasses.dataclass(frozen=True)
class ConllFile:
    """What a file holds.

    Attributes:
        path: of the file.
        words: of each sentence.
        tags: of each sentence; None if the file has no such column.
        lines: number of the line of each word, from 1.
    """

    path: str
    words: list[list[str]]
    tags: list[list[str]] | None
    lines: list[list[int]]

    def where(self, sentence: int, word: int) -> str:
        """ "PATH:LINE" of a word."""
        return f"{self.path}:{self.lines[sentence][word]}"


def read_conll(path: str, data: DataConfig) -> ConllFile:
    """Reads a file, none of whose lines may be bad.

    Args:
        path: of the file.
        data: `word_column` and `tag_column`.

    Raises:
        UserError: naming file and line.
    """
    words: list[list[str]] = []
    tags: list[list[str]] = []
    lines: list[list[int]] = []
    width = 0
    for sentence in _sentences(enumerate(read_text(path).split("\n"), start=1)):
        for column in (words, tags, lines):
            column.append([])
        for number, columns in sentence:
            width = width or len(columns)
            if len(columns) != width:
                raise UserError(f"{path}:{number}: {len(columns)} columns, not {width} as the lines before")
            words[-1].append(_column(columns, data.word_column, "data.word_column", path, number))
            if width > 1:
                tags[-1].append(_column(columns, data.tag_column, "data.tag_column", path, number))
            lines[-1].append(number)
    if not words:
        raise UserError(f"{path} holds no sentences")
    return ConllFile(path, words, tags if width > 1 else None, lines)


def _column(columns: list[str], index: int, key: str, path: str, number: int) -> str:
    """A column by its number, from the end if negative."""
    if not -len(columns) <= index < len(columns):
        raise UserError(f"{key}={index}: {path}:{number} has {len(columns)} columns, counted from 0")
    if not columns[index]:
        raise UserError(f"{path}:{number}: column {index} ({key}) is empty")
    return columns[index]


def conll_records(file: BinaryIO, path: str, word_column: int) -> Iterator[Record]:
    """The sentences of a file, with the field `words`, a list; one with a bad line is bad.

    Args:
        file: to read from.
        path: for messages; if it ends with .gz, the file is unpacked.
        word_column: that of the words, from the end if negative.

    Raises:
        UserError: if the file breaks off.
    """
    lines = read_lines(file, path)
    width = 0
    for rows in _sentences((number, raw.decode(errors="surrogateescape")) for number, raw in lines):
        try:
            width = width or len(rows[0][1])
            words = [_word(number, columns, width, word_column) for number, columns in rows]
            yield Record(rows[0][0], {"words": words})
        except BadRecord as error:
            text = "\n".join("\t".join(columns) for _, columns in rows)
            yield Record(rows[0][0], {}, str(error), text.encode(errors="surrogateescape"))


def _word(number: int, columns: list[str], width: int, word_column: int) -> str:
    if len(columns) != width:
        raise BadRecord(f"line {number} has {len(columns)} columns, not {width} as the lines before")
    if not -width <= word_column < width:
        raise BadRecord(f"line {number} has no column {word_column} (data.word_column of the model)")
    word = columns[word_column]
    decode(word.encode(errors="surrogateescape"))
    return word


def in_columns(columns: Sequence[Sequence[str]]) -> str:
    """A sentence: a line per word, tabs between the columns, an empty line at the end."""
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True)) + "\n"


def _sentences(lines: Iterable[tuple[int, str]]) -> Iterator[list[Row]]:
    """The words of each sentence with all their columns, as in the files of the CoNLL shared tasks.

    Empty lines stand between sentences. Columns are divided by tabs, or by spaces where there is no tab.
    Lines that begin with -DOCSTART- are passed over, and comments ("# ...") with another number of columns
    than the first line, or than two.

    Args:
        lines: with their numbers.
    """
    rows: list[Row] = []
    width = 0
    for number, line in lines:
        columns = [column.strip() for column in line.split("\t")] if "\t" in line else line.split()
        if not columns or columns == [""] or columns[0] == _DOCUMENT:
            if rows:
                yield rows
            rows = []
            continue
        if columns[0].startswith("#") and len(columns) != (width or 2):
            continue
        width = width or len(columns)
        rows.append((number, columns))
    if rows:
        yield rows
