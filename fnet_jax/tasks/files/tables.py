"""Tables of texts and labels in TSV, CSV and JSONL files, with the line number of every row."""

import contextlib
import csv
import dataclasses
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.records import json_object, scalar

SUFFIXES = (".tsv", ".txt", ".csv", ".jsonl")  # each also with .gz; .txt is read as .tsv

_Row = tuple[int, list[str]]  # the line it begins on, from 1, and its fields


@dataclasses.dataclass(frozen=True)
class Table:
    """Some columns of a file.

    Attributes:
        path: the file, for messages.
        columns: values as text, by name; a column that was optional and is not there is absent.
        lines: the line that each row begins on, from 1.
        skipped: rows that were left out because fields are missing.
    """

    path: str
    columns: Mapping[str, list[str]]
    lines: list[int]
    skipped: int = 0

    def where(self, row: int) -> str:
        """ "PATH:LINE" of a row, to begin a message with."""
        return f"{self.path}:{self.lines[row]}"


def read_table(
    path: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    header: Sequence[str] | None = None,
    skip_short_rows: bool = False,
    lists: Sequence[str] = (),
) -> Table:
    """Reads some columns of a file.

    TSV is split at tabs and line feeds and nothing else: quotes are text, as in GLUE's files. CSV has
    quotes, which may hold line breaks. A line of JSONL is an object.

    Args:
        path: its suffix is one of `SUFFIXES`, with or without .gz.
        required: names of columns.
        optional: names of columns that may be absent.
        header: names of all columns, where the file does not begin with them; not for JSONL.
        skip_short_rows: leave out and count rows with too few fields; otherwise they are an error.
        lists: of the required names, those whose values are lists of texts, given as JSON; only in JSONL.

    Raises:
        UserError: naming the file, and the line where there is one.
    """
    suffix = table_suffix(path)
    if not suffix:
        raise UserError(f"{path} is no table that can be read; valid suffixes: {', '.join(SUFFIXES)}, or .gz")
    text = read_text(path)
    if suffix == ".jsonl":
        return _objects(path, text, required, optional, lists)
    if lists:
        raise UserError(f"{path}: a list of texts ({', '.join(lists)}) stands only in .jsonl; name columns")
    rows = _csv_rows(path, text) if suffix == ".csv" else _tsv_rows(text)
    return _fields(path, rows, required, optional, header, skip_short_rows)


def table_suffix(path: str) -> str:
    """Which of `SUFFIXES` a file has, .gz apart; "" for none."""
    suffix = os.path.splitext(path.removesuffix(".gz"))[1]
    return suffix if suffix in SUFFIXES else ""


def read_text(path: str) -> str:
    """The text of a file, of one that is packed if its name ends with .gz; without a byte order mark.

    Raises:
        UserError: if it cannot be read, or is not UTF-8, naming the line.
    """
    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        value = content[error.start : error.end]
        raise UserError(f"{path}:{line}: bytes {value!r} are not UTF-8; save the file as UTF-8") from error


def _tsv_rows(text: str) -> Iterator[_Row]:
    lines = text.split("\n")  # splitlines would also split at signs that stand in texts
    while lines and not lines[-1].rstrip("\r"):
        lines.pop()
    for number, line in enumerate(lines, start=1):
        yield number, line.removesuffix("\r").split("\t")


def _csv_rows(path: str, text: str) -> Iterator[_Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # 128 KiB unless told: short for a text
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}:{line}: the row that begins here is no CSV ({error}); a quote inside quotes is doubled"
        ) from error


def _fields(
    path: str,
    rows: Iterator[_Row],
    required: Sequence[str],
    optional: Sequence[str],
    header: Sequence[str] | None,
    skip_short_rows: bool,
) -> Table:
    if header is None:
        _, header = next(rows, (1, []))
        for name in required:
            if name not in header:
                raise UserError(f"{path}:1: no column {name!r}; it has {', '.join(map(repr, header))}")
    wanted = [name for name in (*required, *optional) if name in header]
    for name in wanted:
        if list(header).count(name) > 1:
            raise UserError(f"{path}:1: {list(header).count(name)} columns are named {name!r}; keep one")
    places = [list(header).index(name) for name in wanted]
    columns: list[list[str]] = [[] for _ in wanted]
    lines: list[int] = []
    skipped = 0
    for line, row in rows:
        if len(row) != len(header):
            if skip_short_rows and len(row) < len(header):
                skipped += 1
                continue
            raise UserError(f"{path}:{line}: {len(row)} columns, not {len(header)} ({', '.join(header)})")
        lines.append(line)
        for column, place in zip(columns, places, strict=True):
            column.append(row[place])
    return Table(path, dict(zip(wanted, columns, strict=True)), lines, skipped)


def _objects(
    path: str, text: str, required: Sequence[str], optional: Sequence[str], lists: Sequence[str]
) -> Table:
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        with _placed(path, line):
            record = json_object(content)
        if not lines:
            columns = {name: [] for name in (*required, *optional) if name in record or name in required}
        for name in (*required, *optional):
            if name in columns and name not in record:
                raise UserError(f"{path}:{line}: no field {name!r}; it has {', '.join(map(repr, record))}")
            if name in record and name not in columns:
                raise UserError(f"{path}:{line}: field {name!r} is new here; the rows before have none")
        with _placed(path, line):
            for name, column in columns.items():
                column.append(_texts(name, record[name]) if name in lists else scalar(name, record[name]))
        lines.append(line)
    return Table(path, columns, lines)


def _texts(name: str, value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UserError(f"field {name!r} is {json.dumps(value)[:40]}, not a list of texts")
    return json.dumps([scalar(name, text) for text in value])


@contextlib.contextmanager
def _placed(path: str, line: int) -> Iterator[None]:
    """Says where a record is that is no good."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}:{line}: {error}") from error
