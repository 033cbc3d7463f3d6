"""Tables of texts and labels in TSV, CSV and JSONL files, whole or not at all: data to train on."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.reader import (
    Line,
    Row,
    csv_rows,
    json_object,
    line_text,
    open_bytes,
    read_lines,
    scalar,
    tsv_rows,
    wrong_width,
)

SUFFIXES = (".tsv", ".txt", ".csv", ".jsonl")  # each also with .gz; .txt is read as .tsv

_LONE_RETURN = re.compile(rb"(?<=\r)(?!\n)")


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
    suffix = os.path.splitext(path.removesuffix(".gz"))[1]
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is no table that can be read; valid suffixes: {', '.join(SUFFIXES)}, or .gz")
    if lists and suffix != ".jsonl":
        raise UserError(f"{path}: a list of texts ({', '.join(lists)}) stands only in .jsonl; name columns")
    with open_bytes(path) as file:
        lines = read_lines(file, path)
        if suffix == ".jsonl":
            return _objects(path, lines, required, optional, lists)
        return _delimited(path, _rows(path, lines, suffix), required, optional, header, skip_short_rows)


def _delimited(
    path: str,
    rows: Iterator[Row],
    required: Sequence[str],
    optional: Sequence[str],
    header: Sequence[str] | None,
    skip_short_rows: bool,
) -> Table:
    if header is None:
        header = next(rows, Row(1, [])).values
        for name in required:
            if name not in header:
                raise UserError(f"{path}:1: no column {name!r}; it has {', '.join(map(repr, header))}")
    names = [name for name in (*required, *optional) if name in header]
    for name in names:
        if (count := list(header).count(name)) > 1:
            raise UserError(f"{path}:1: {count} columns are named {name!r}; keep one")
    places = [list(header).index(name) for name in names]
    columns: list[list[str]] = [[] for _ in names]
    lines: list[int] = []
    skipped = 0
    for row in rows:
        if fault := wrong_width(row, header):
            if skip_short_rows and len(row.values) < len(header):
                skipped += 1
                continue
            raise UserError(f"{path}:{row.line}: {fault}")
        lines.append(row.line)
        for column, place in zip(columns, places, strict=True):
            column.append(row.values[place])
    return Table(path, dict(zip(names, columns, strict=True)), lines, skipped)


def _rows(path: str, lines: Iterator[Line], suffix: str) -> Iterator[Row]:
    """The rows of a file, none of which may be bad; without empty lines of CSV, and at the end of TSV."""
    empty: list[Row] = []
    for row in csv_rows(_at_returns(lines)) if suffix == ".csv" else tsv_rows(lines):
        if row.fault:
            raise UserError(f"{path}:{row.line}: {row.fault}")
        if not row.raw.rstrip(b"\r\n"):
            if row.values:
                empty.append(row)
            continue
        yield from empty
        empty.clear()
        yield row


def _at_returns(lines: Iterator[Line]) -> Iterator[Line]:
    """Divides lines of CSV where a carriage return stands alone, which ends a line on old Macs."""
    parts = (part for _, raw in lines for part in _LONE_RETURN.split(raw) if part)
    return enumerate(parts, start=1)


def _objects(
    path: str, found: Iterator[Line], required: Sequence[str], optional: Sequence[str], lists: Sequence[str]
) -> Table:
    columns: dict[str, list[str]] = {}
    lines: list[int] = []
    for line, raw in found:
        try:
            if not raw.strip():
                continue
            record = json_object(line_text(raw))
            if not lines:
                columns = {name: [] for name in (*required, *optional) if name in record or name in required}
            for name in (*required, *optional):
                if name in columns and name not in record:
                    raise UserError(f"no field {name!r}; it has {', '.join(map(repr, record))}")
                if name in record and name not in columns:
                    raise UserError(f"field {name!r} is new here; the rows before have none")
            for name, column in columns.items():
                column.append(_texts(name, record[name]) if name in lists else scalar(name, record[name]))
        except UserError as error:
            raise UserError(f"{path}:{line}: {error}") from error
        lines.append(line)
    return Table(path, columns, lines)


def _texts(name: str, value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise UserError(f"field {name!r} is {json.dumps(value)[:40]}, not a list of texts")
    return json.dumps([scalar(name, text) for text in value])
