"""The reader of all files of records: one record after the other, in constant memory, with their lines.

| format | a record | its fields |
|---|---|---|
| tsv | a line, split at tabs and nothing else: quotes are text, as in GLUE | named by the first line |
| csv | a row with quotes, which may hold line breaks | named by the first row |
| jsonl | a line that is an object | its own names |
| lines | a line of text | `text` |

`read_records` reports a bad record and reads on, for texts to ask a model about. `tables.read_table` refuses
the file at its first bad record, for data to train on, of which nothing may be missing. `tag/conll.py` and
`answer/files.py` read their own formats.
"""

import collections
import contextlib
import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn, cast

from fnet_jax.core.errors import UserError

Format = Literal["tsv", "csv", "jsonl", "lines"]
Line = tuple[int, bytes]  # its number, from 1, and its content with its end

MAX_BYTES = 16 << 20  # of a line, and of a field of CSV: an open quote would take all that follows
EMPTY = "empty line"
_BOM = b"\xef\xbb\xbf"


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


class Row(NamedTuple):
    """A row of a delimited file, good or bad; the other attributes are those of `Record`."""

    line: int
    values: list[str]  # of an empty line [] in CSV, [""] in TSV
    fault: str = ""
    raw: bytes = b""


class BadRecord(UserError):
    """What is wrong with a record; other errors are of the whole file."""


def open_bytes(path: str) -> BinaryIO:
    """Opens a file, packed or not.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def read_records(
    file: BinaryIO, path: str, form: Format, header: Sequence[str] | None = None
) -> Iterator[Record]:
    """The records of a file; what is wrong with a bad one stands in it.

    Args:
        file: to read from.
        path: for messages; if it ends with .gz, the file is unpacked.
        form: of the file.
        header: names of all columns where the first line does not hold them; tsv and csv alone.

    Raises:
        UserError: if the file breaks off, or its first line is no header.
    """
    lines = read_lines(file, path)
    if form in ("tsv", "csv"):
        yield from _named(lines, path, form, header)
        return
    for number, raw in lines:
        try:
            text = line_text(raw)
            if not text.strip():
                raise BadRecord(EMPTY)
            yield Record(number, {"text": text} if form == "lines" else json_object(text))
        except BadRecord as error:
            yield Record(number, {}, str(error), raw)


def read_lines(file: BinaryIO, path: str) -> Iterator[Line]:
    """Lines with their numbers, without a byte order mark; one longer than `MAX_BYTES` is cut behind it.

    Raises:
        UserError: if the file breaks off.
    """
    number = 0
    with _unpacked(file, path) as unpacked:
        while raw := unpacked.readline(MAX_BYTES + 1):
            number += 1
            rest = raw
            while not rest.endswith(b"\n") and (rest := unpacked.readline(MAX_BYTES)):
                pass
            yield number, raw.removeprefix(_BOM) if number == 1 else raw


def read_text(path: str) -> str:
    """The whole text of a file, without a byte order mark.

    Raises:
        UserError: if it cannot be read, or is not UTF-8, naming the line.
    """
    with open_bytes(path) as file, _unpacked(file, path) as unpacked:
        content = unpacked.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: {_not_utf8(error)}") from error


def decode(raw: bytes) -> str:
    """A line as text.

    Raises:
        BadRecord: if it is too long, or not UTF-8.
    """
    if len(raw) > MAX_BYTES:
        raise BadRecord(f"the line has more than {MAX_BYTES >> 20} MiB")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(_not_utf8(error)) from error


def line_text(raw: bytes) -> str:
    """`decode`, without the end of the line."""
    return decode(raw).removesuffix("\n").removesuffix("\r")


def json_object(text: str) -> dict[str, Any]:
    """The object of a line.

    Raises:
        BadRecord: if it is none.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise BadRecord(f"no JSON ({error.msg} at column {error.colno})") from error
    except (RecursionError, ValueError) as error:  # brackets too deep, numbers too long
        raise BadRecord(f"no JSON that can be read ({error})") from error
    if not isinstance(found, dict):
        raise BadRecord(f"{text[:40]!r} is no JSON object with named fields")
    return found


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


@contextlib.contextmanager
def _unpacked(file: BinaryIO, path: str) -> Iterator[BinaryIO]:
    """The content of a file, and a sentence for what goes wrong in the block."""
    try:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.endswith(".gz") else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def _not_utf8(error: UnicodeDecodeError) -> str:
    value = error.object[error.start : error.end]
    return f"bytes {value!r} are not UTF-8; save the file as UTF-8"


def _no_number(name: str) -> NoReturn:
    """NaN and Infinity, which Python would take, are not JSON."""
    raise ValueError(f"{name} is no number")


def _named(lines: Iterator[Line], path: str, form: Format, header: Sequence[str] | None) -> Iterator[Record]:
    """Gives the columns their names, which stand in the first row if `header` does not have them."""
    rows = csv_rows(lines) if form == "csv" else tsv_rows(lines)

    def fault_of(row: Row) -> str:
        is_empty = not row.values if form == "csv" else not row.raw.strip()
        return row.fault or (EMPTY if is_empty else "")

    if header is None:
        first = next(rows, Row(1, []))
        if fault := fault_of(first):
            raise UserError(f"{path}:{first.line}: {fault}; the first line has to name the columns")
        header = first.values
    if len(set(header)) < len(header):
        raise UserError(f"{path}:1: two columns have the same name ({', '.join(header)}); rename one")
    for row in rows:
        fault = fault_of(row) or wrong_width(row, header)
        fields = {} if fault else dict(zip(header, row.values, strict=True))
        yield Record(row.line, fields, fault, row.raw if fault else b"")


def wrong_width(row: Row, header: Sequence[str]) -> str:
    """What is wrong with a row that has not as many columns as the header; "" if it has."""
    if len(row.values) == len(header):
        return ""
    return f"{len(row.values)} columns, not {len(header)} ({', '.join(header)})"


def tsv_rows(lines: Iterator[Line]) -> Iterator[Row]:
    """A row for each line."""
    for number, raw in lines:
        try:
            text = line_text(raw)
        except BadRecord as error:
            yield Row(number, [], str(error), raw)
        else:
            yield Row(number, text.split("\t"), "", raw)


def csv_rows(lines: Iterator[Line]) -> Iterator[Row]:
    """Rows that may go on over several lines. After a bad one, reading goes on with its second line."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_BYTES))  # 128 KiB unless told: short for a text
    again: collections.deque[Line] = collections.deque()
    used: list[Line] = []  # the lines of the row

    def texts() -> Iterator[str]:
        while line := again.popleft() if again else next(lines, None):
            used.append(line)
            yield decode(line[1])

    rows = csv.reader(texts(), strict=True)
    while True:
        used.clear()
        try:
            values = next(rows, None)
        except (csv.Error, BadRecord) as error:
            again.extendleft(reversed(used[1:]))
            rows = csv.reader(texts(), strict=True)
            fault = str(error)
            if isinstance(error, csv.Error):
                fault = f"the row that begins here is no CSV ({fault}); a quote inside quotes is doubled"
            yield Row(used[0][0], [], fault, used[0][1])
            continue
        if values is None:
            return
        yield Row(used[0][0], values, "", used[0][1])
