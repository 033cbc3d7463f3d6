"""Files of records, one after the other in constant memory; a bad one is reported, and reading goes on.

For data to train on, of which nothing may be missing, see `tasks/files/tables.py`.

| format | a record | its fields |
|---|---|---|
| tsv | a line, split at tabs and nothing else: quotes are text, as in GLUE | named by the first line |
| csv | a row with quotes, which may hold line breaks | named by the first row |
| jsonl | a line that is an object | its own names |
| lines | a line of text | `text` |
| conll | a sentence, a word with its columns a line | `words`, a list |
"""

import collections
import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.columns import sentences

Format = Literal["tsv", "csv", "jsonl", "lines", "conll"]

MAX_BYTES = 16 << 20  # of a line, and of a field of CSV: an open quote would take all that follows
EMPTY = "empty line"
_BOM = b"\xef\xbb\xbf"
_Line = tuple[int, bytes]
_Row = tuple[int, list[str], str, bytes]  # line, values, fault, raw


class Record(NamedTuple):
    """One record, good or bad.

    Attributes:
        line: number of the line that it begins on, from 1.
        fields: by name; {} of a bad record.
        fault: what is wrong with it, or "".
        raw: the line of a bad record.
    """

    line: int
    fields: dict[str, Any]
    fault: str = ""
    raw: bytes = b""


def open_bytes(path: str) -> BinaryIO:
    """Opens a file.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def read_records(
    file: BinaryIO, path: str, form: Format, header: Sequence[str] | None = None, word_column: int = 0
) -> Iterator[Record]:
    """The records of a file.

    Args:
        file: to read from.
        path: for messages.
        form: of the file.
        header: names of all columns where the first line does not hold them; tsv and csv alone.
        word_column: that of the words, from the end if negative; conll alone.

    Raises:
        UserError: if the file breaks off, or its first line is no header.
    """
    lines = _lines(file, path)
    if form in ("tsv", "csv"):
        yield from _table(_csv(lines) if form == "csv" else _tsv(lines), path, header)
        return
    if form == "conll":
        yield from _conll(lines, word_column)
        return
    for number, raw in lines:
        try:
            text = _text(raw)
            yield Record(number, {"text": text} if form == "lines" else json_object(text))
        except _Fault as fault:
            yield Record(number, {}, str(fault), raw)


def scalar(name: str, value: Any) -> str:
    """A value of a record as text; numbers as JSON writes them.

    Raises:
        UserError: naming the field, if it is something else.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"field {name!r} holds half a surrogate pair, which is no text") from None
        return value
    if not isinstance(value, int | float):  # a bool is an int
        raise UserError(f"field {name!r} is {json.dumps(value)[:40]}, not text or a number")
    return json.dumps(value)


class _Fault(UserError):
    """What is wrong with a record; other errors are of the whole file."""


def _lines(file: BinaryIO, path: str) -> Iterator[_Line]:
    """Lines with their numbers; one that is too long is cut."""
    number = 0
    try:
        while raw := file.readline(MAX_BYTES + 1):
            number += 1
            rest = raw
            while not rest.endswith(b"\n") and (rest := file.readline(MAX_BYTES)):
                pass
            yield number, raw.removeprefix(_BOM) if number == 1 else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise _Fault(f"the line has more than {MAX_BYTES >> 20} MiB")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        value = raw[error.start : error.end]
        raise _Fault(f"bytes {value!r} are not UTF-8; save the file as UTF-8") from error


def _text(raw: bytes) -> str:
    """A line without its end."""
    text = _decode(raw).removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise _Fault(EMPTY)
    return text


def json_object(text: str) -> dict[str, Any]:
    """The object of a line.

    Raises:
        UserError: if it is none.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise _Fault(f"no JSON ({error.msg} at column {error.colno})") from error
    except (RecursionError, ValueError) as error:  # brackets too deep, numbers too long
        raise _Fault(f"no JSON that can be read ({error})") from error
    if not isinstance(found, dict):
        raise _Fault(f"{text[:40]!r} is no JSON object with named fields")
    return found


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity, which Python would take, are not JSON."""
    raise ValueError(f"{name} is no number")


def _table(rows: Iterator[_Row], path: str, header: Sequence[str] | None) -> Iterator[Record]:
    """Gives the columns their names, which stand in the first row if `header` does not have them."""
    if header is None:
        line, header, fault, _ = next(rows, (1, [], EMPTY, b""))
        if fault:
            raise UserError(f"{path}:{line}: {fault}; the first line has to name the columns")
    if len(set(header)) < len(header):
        raise UserError(f"{path}:1: two columns have the same name ({', '.join(header)}); rename one")
    for line, row, fault, raw in rows:
        if not fault and len(row) != len(header):
            fault = f"{len(row)} columns, not {len(header)} ({', '.join(header)})"
        yield Record(line, {}, fault, raw) if fault else Record(line, dict(zip(header, row, strict=True)))


def _tsv(lines: Iterator[_Line]) -> Iterator[_Row]:
    for number, raw in lines:
        try:
            yield number, _text(raw).split("\t"), "", raw
        except _Fault as fault:
            yield number, [], str(fault), raw


def _csv(lines: Iterator[_Line]) -> Iterator[_Row]:
    """Rows that may go on over several lines. After a bad one, reading goes on with its second line."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))  # 128 KiB unless told: short for a text
    again: collections.deque[_Line] = collections.deque()
    while True:
        used: list[_Line] = []
        try:
            row = next(csv.reader(_used(lines, again, used), strict=True), None)
        except (csv.Error, _Fault) as error:
            again.extendleft(reversed(used[1:]))
            fault = str(error)
            if isinstance(error, csv.Error):
                fault = f"the row that begins here is no CSV ({fault}); a quote inside quotes is doubled"
            yield used[0][0], [], fault, used[0][1]
            continue
        if row is None:
            return
        yield used[0][0], row, "" if row else EMPTY, used[0][1]


def _conll(lines: Iterator[_Line], word_column: int) -> Iterator[Record]:
    """Sentences; one with a bad line is bad."""
    width = 0
    for rows in sentences((number, raw.decode(errors="surrogateescape")) for number, raw in lines):
        try:
            width = width or len(rows[0][1])
            words = [_word(number, columns, width, word_column) for number, columns in rows]
            yield Record(rows[0][0], {"words": words})
        except _Fault as fault:
            text = "\n".join("\t".join(columns) for _, columns in rows)
            yield Record(rows[0][0], {}, str(fault), text.encode(errors="surrogateescape"))


def _word(number: int, columns: list[str], width: int, word_column: int) -> str:
    if len(columns) != width:
        raise _Fault(f"line {number} has {len(columns)} columns, not {width} as the lines before")
    if not -width <= word_column < width:
        raise _Fault(f"line {number} has no column {word_column} (data.word_column of the model)")
    word = columns[word_column]
    _decode(word.encode(errors="surrogateescape"))
    return word


def _used(lines: Iterator[_Line], again: collections.deque[_Line], used: list[_Line]) -> Iterator[str]:
    """The lines, those to be read again first; each is noted in `used`."""
    while line := again.popleft() if again else next(lines, None):
        used.append(line)
        yield _decode(line[1])
