"""Files of answers: JSONL for all commands, and the layouts of their fields."""

import abc
import contextlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file, remove
from fnet_jax.tasks.files.reader import Record
from fnet_jax.tasks.tag.files import in_columns
from fnet_jax.tools.predict.commands import COMMANDS

REJECTED_SUFFIX = ".rejected.jsonl"
_DIGITS = 7  # of the numbers of a vector, in JSON
_SAID = 3  # rejected lines that are named on the screen


class Rejects:
    """Records that could not be worked off, with the reason: a JSON object each."""

    def __init__(self, file: BinaryIO | None):
        """Takes the file to write to; without one they are only counted, and named on the screen."""
        self._file = file
        self.count = 0
        self.first = ""

    def add(self, record: Record, reason: str) -> None:
        """Takes one."""
        self.count += 1
        self.first = self.first or f"line {record.line}: {reason}"
        if self.count <= _SAID:
            print(f"rejected line {record.line}: {reason}", file=sys.stderr)
        if self._file:
            content = record.raw.decode(errors="backslashreplace") if record.raw else record.fields
            row = {"line": record.line, "reason": reason, "content": content}
            self._file.write(json.dumps(row).encode() + b"\n")


@contextlib.contextmanager
def outputs(path: str) -> Iterator[tuple["Writer", Rejects]]:
    """Opens OUTPUT and OUTPUT.rejected.jsonl; both are there whole after the block, or neither.

    The second one only where there is something in it. Without a path, answers go to stdout.
    """
    if not path:
        yield JsonWriter(sys.stdout.buffer), Rejects(None)
        sys.stdout.flush()
        return
    rejected = path + REJECTED_SUFFIX
    with contextlib.ExitStack() as stack:
        file, rejected_file = (stack.enter_context(atomic_file(name)) for name in (path, rejected))
        rejects = Rejects(rejected_file)
        with writing(path, file) as writer:
            yield writer, rejects
    if not rejects.count:
        remove(rejected)


def check_output(path: str, source: str, command: str) -> None:
    """Refuses an OUTPUT that cannot be written, or would overwrite what is read.

    Raises:
        UserError: naming it, and what would be valid.
    """
    valid = (".jsonl", *COMMANDS[command].suffixes)
    if not path.endswith(valid):
        raise UserError(f"--output={path} of {command} must end in {' or '.join(valid)}")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f"--output={path} cannot be written: {folder} is no folder that can be written to")
    if os.path.isdir(path):
        raise UserError(f"--output={path} is a folder; name a file")
    for made in (path, path + REJECTED_SUFFIX):
        if os.path.exists(made) and os.path.exists(source) and os.path.samefile(made, source):
            raise UserError(f"--output={path} would overwrite --input={source}; name another file")


@contextlib.contextmanager
def writing(path: str, file: BinaryIO) -> Iterator["Writer"]:
    """The writer that the suffix of `path` asks for; after the block `file` is complete."""
    with contextlib.ExitStack() as stack:
        if path.endswith(".npz"):
            folder = os.path.dirname(os.path.abspath(path))
            lines, vectors = (stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2))
            writer: Writer = VectorWriter(file, cast(BinaryIO, lines), cast(BinaryIO, vectors))
        else:
            suffix = os.path.splitext(path)[1]
            writer = {".conll": ConllWriter, ".json": SquadWriter}.get(suffix, JsonWriter)(file)
        yield writer
        writer.finish()


class Writer(abc.ABC):
    """Takes the answers in the order of their records."""

    def __init__(self, file: BinaryIO):
        self._file = file

    @abc.abstractmethod
    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """Takes one."""

    def finish(self) -> None:  # noqa: B027  most have nothing left
        """Writes what is still to be written."""


class JsonWriter(Writer):
    """One line per record: its number, its own fields, and those of the answer, which have the last word."""

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        row = to_json({"line": record.line, **record.fields, **answer})
        # Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes an escape of JSON again.
        self._file.write(row.encode(errors="backslashreplace") + b"\n")


class VectorWriter(Writer):
    """Arrays `lines` i64[N], the numbers of the lines, and `vectors` f32[N, D] or [N, L, D]."""

    def __init__(self, file: BinaryIO, lines: BinaryIO, vectors: BinaryIO):
        """Takes the file to write to, and two to keep the values until their number is known."""
        super().__init__(file)
        self._lines, self._vectors = lines, vectors
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


class ConllWriter(Writer):
    """A line per word: the word, a tab, its tag; an empty line ends a sentence."""

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        self._file.write(in_columns([answer["words"], answer["tags"]]).encode())


class SquadWriter(Writer):
    """One object, from the id of each question (or the number of its line) to the answer, as SQuAD has it."""

    _before = "{\n"

    def write(self, record: Record, answer: Mapping[str, Any]) -> None:
        """See `Writer`."""
        name = json.dumps(str(record.fields.get("id", record.line)), ensure_ascii=False)
        text = json.dumps(answer["answer"], ensure_ascii=False)
        self._file.write(f"{self._before} {name}: {text}".encode(errors="backslashreplace"))
        self._before = ",\n"

    def finish(self) -> None:
        """Closes the object."""
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
