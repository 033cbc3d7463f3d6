"""Answers of a model, written as they come, in constant memory: JSONL, or vectors in an .npz file."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.files import remove, whole_file
from fnet_jax.data.records import Record

REJECTED_SUFFIX = ".rejected.jsonl"
_SAID = 3  # rejected lines that are named on the screen
_DIGITS = 7  # of the numbers of a vector, in JSON


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
        values = {name: _plain(value) for name, value in answer.items()}
        row = {"line": record.line, **record.fields, **values}
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    def finish(self) -> None:
        """See `Writer`."""


class VectorWriter:
    """Arrays `lines` i64[N], the numbers of the lines, and `vectors` f32[N, D] or [N, L, D]."""

    def __init__(self, file: BinaryIO, stack: contextlib.ExitStack):
        """Takes the file to write to, and what closes those that are needed until then."""
        folder = os.path.dirname(os.path.abspath(file.name))
        self._file = file
        self._lines, self._vectors = (
            stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2)
        )
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
def outputs(path: str) -> Iterator[tuple[Writer, Rejects]]:
    """Opens OUTPUT and OUTPUT.rejected.jsonl; both are there whole after the block, or neither.

    The second one only where there is something in it. Without a path, answers go to stdout.
    """
    if not path:
        yield JsonWriter(sys.stdout.buffer), Rejects(None)
        sys.stdout.flush()
        return
    rejected = path + REJECTED_SUFFIX
    with contextlib.ExitStack() as stack:
        file, rejected_file = (stack.enter_context(whole_file(name)) for name in (path, rejected))
        writer: Writer = VectorWriter(file, stack) if path.endswith(".npz") else JsonWriter(file)
        rejects = Rejects(rejected_file)
        yield writer, rejects
        writer.finish()
    if not rejects.count:
        remove(rejected)


def check_output(path: str, source: str, is_vector: bool) -> None:
    """Refuses an OUTPUT that cannot be written, or would overwrite what is read.

    Raises:
        UserError: naming it, and what would be valid.
    """
    valid = (".jsonl", ".npz") if is_vector else (".jsonl",)
    if not path.endswith(valid):
        raise UserError(f"--output={path} must end in {' or '.join(valid)}")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f"--output={path} cannot be written: {folder} is no folder that can be written to")
    if os.path.isdir(path):
        raise UserError(f"--output={path} is a folder; name a file")
    for made in (path, path + REJECTED_SUFFIX):
        if os.path.exists(made) and os.path.exists(source) and os.path.samefile(made, source):
            raise UserError(f"--output={path} would overwrite --input={source}; name another file")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return (
            [_plain(part) for part in value] if value.ndim > 1 else [float(f"{x:.{_DIGITS}g}") for x in value]
        )
    return value
