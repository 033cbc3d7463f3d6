"""Files of answers: JSONL for all commands, and the layouts that a field has of its own."""

import contextlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol, cast

import numpy as np

from fnet_jax.tasks.files.reader import Record
from fnet_jax.tasks.tag.files import in_columns

# Command -> suffixes that an output may have besides .jsonl.
SUFFIXES = {"encode": (".npz",), "tag": (".conll",), "answer": (".json",)}
_DIGITS = 7  # of the numbers of a vector, in JSON


@contextlib.contextmanager
def writing(path: str, file: BinaryIO) -> Iterator["Writer"]:
    """The writer that the suffix of a path asks for; after the block the file is complete.

    Args:
        path: of the file.
        file: to write to.
    """
    with contextlib.ExitStack() as stack:
        if path.endswith(".npz"):
            folder = os.path.dirname(os.path.abspath(path))
            lines, vectors = (stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2))
            writer: Writer = VectorWriter(file, cast(BinaryIO, lines), cast(BinaryIO, vectors))
        elif path.endswith(".conll"):
            writer = ConllWriter(file)
        else:
            writer = AnswerWriter(file) if path.endswith(".json") else JsonWriter(file)
        yield writer
        writer.finish()


class Writer(Protocol):
    """Takes the answers in the order of their records."""

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """Takes one."""
        ...

    def finish(self) -> None:
        """Writes what is still to be written."""
        ...


class JsonWriter:
    """One line per record: its number, its own fields, and those of the answer, which have the last word."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        row = to_json({"line": record.line, **record.fields, **answer})
        # Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes an escape of JSON again.
        self._file.write(row.encode(errors="backslashreplace") + b"\n")

    def finish(self) -> None:
        """See `Writer`."""


class VectorWriter:
    """Arrays `lines` i64[N], the numbers of the lines, and `vectors` f32[N, D] or [N, L, D]."""

    def __init__(self, file: BinaryIO, lines: BinaryIO, vectors: BinaryIO):
        """Takes the file to write to, and two to keep the values until their number is known."""
        self._file, self._lines, self._vectors = file, lines, vectors
        self._count = 0
        self._shape: tuple[int, ...] = (0,)

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        vector = np.asarray(answer["vector"], "<f4")
        self._lines.write(np.int64(record.line).astype("<i8").tobytes())
        self._vectors.write(vector.tobytes())
        self._count, self._shape = self._count + 1, vector.shape

    def finish(self) -> None:
        """The arrays get their header now that their size is known."""
        with zipfile.ZipFile(self._file, "w") as archive:
            for name, dtype, shape, values in (
                ("lines", "<i8", (self._count,), self._lines),
                ("vectors", "<f4", (self._count, *self._shape), self._vectors),
            ):
                values.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    header = {"descr": dtype, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_2_0(entry, header)
                    shutil.copyfileobj(values, entry, 1 << 20)


class ConllWriter:
    """A line per word: the word, a tab, its tag; an empty line ends a sentence."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        self._file.write(in_columns([answer["words"], answer["tags"]]).encode())

    def finish(self) -> None:
        """See `Writer`."""


class AnswerWriter:
    """One object, from the id of each question (or the number of its line) to the answer, as SQuAD has it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._before = "{\n"

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        name = json.dumps(str(record.fields.get("id", record.line)), ensure_ascii=False)
        text = json.dumps(answer["answer"], ensure_ascii=False)
        self._file.write(f"{self._before} {name}: {text}".encode(errors="backslashreplace"))
        self._before = ",\n"

    def finish(self) -> None:
        """See `Writer`."""
        self._file.write(b"\n}\n")


def to_json(row: Mapping[str, Any]) -> str:
    """One line. Vectors are lists of numbers with as many digits as float32 has."""
    return json.dumps(
        {name: _plain(value) if isinstance(value, np.ndarray) else value for name, value in row.items()},
        ensure_ascii=False,
    )


def _plain(vector: np.ndarray) -> list[Any]:
    if vector.ndim > 1:
        return [_plain(part) for part in vector]
    return [float(f"{value:.{_DIGITS}g}") for value in vector]
