"""Works off a file in constant memory: answers as JSONL or vectors in an .npz file, bad lines aside."""

import collections
import contextlib
import dataclasses
import gzip
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from tqdm import tqdm

from fnet_jax.bridge.model import Model
from fnet_jax.core import signals
from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.core.files import remove, temporary_name, whole_file
from fnet_jax.data.records import Format, Record, open_bytes, read_records
from fnet_jax.tools.predict_commands import Command, Fields, Options

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
        writer: Writer = JsonWriter(file)
        if path.endswith(".npz"):
            folder = os.path.dirname(os.path.abspath(path))
            lines = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            vectors = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            writer = VectorWriter(file, cast(BinaryIO, lines), cast(BinaryIO, vectors))
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


@dataclasses.dataclass(frozen=True)
class Source:
    """Where records come from.

    Attributes:
        path: of the file; "" for stdin.
        form: its format.
        columns: names of its columns, where it does not begin with them.
    """

    path: str
    form: Format
    columns: Sequence[str] | None = None

    @contextlib.contextmanager
    def records(self) -> Iterator[Iterator[Record]]:
        """The records; a bar on a terminal shows how much of the file has been read."""
        name = self.path or "stdin"
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(open_bytes(self.path)) if self.path else sys.stdin.buffer
            is_packed = self.path.endswith(".gz")
            file = cast(BinaryIO, stack.enter_context(gzip.open(raw))) if is_packed else raw
            size = os.path.getsize(self.path) if self.path else None
            bar = stack.enter_context(tqdm(total=size, unit="B", unit_scale=True, disable=None, leave=False))

            def shown() -> Iterator[Record]:
                for record in read_records(file, name, self.form, self.columns):
                    yield record
                    bar.update((raw.tell() if self.path else bar.n) - bar.n)

            yield shown()


def work_off(model: Model, command: Command, options: Options, source: Source, output: str) -> None:
    """Answers all records of a file, in their order, and says how fast.

    Args:
        model: to be asked.
        command: what to ask.
        options: of the command.
        source: of the records.
        output: file for the answers, OUTPUT.rejected.jsonl for what is no good; "" for the screen.

    Raises:
        UserError: if no record is any good.
        MachineError: if the answers cannot be written.
    """
    job = command.job(model.parts, options)
    waiting: collections.deque[Record] = collections.deque()
    start = time.perf_counter()

    def items() -> Iterator[Any]:
        for record in records:
            try:
                if record.fault:
                    raise UserError(record.fault)
                item = command.item(record.fields, options)
            except UserError as error:
                rejects.add(record, str(error))
                continue
            waiting.append(record)
            yield item

    answered = 0
    with _cleared(output), source.records() as records, outputs(output) as (writer, rejects):
        for _, answer in model.stream(job, items()):
            record = waiting.popleft()
            if isinstance(answer, UserError):
                rejects.add(record, str(answer))
            else:
                writer.write(record, command.answer(answer))
                answered += 1
        if not answered:
            first = f": {rejects.first}" if rejects.first else ""
            raise UserError(f"{source.path or 'stdin'} has nothing to work on{first}")
    _report(model, time.perf_counter() - start, options.long, rejects.count, output)


def answer_here(model: Model, command: Command, options: Options, records: Sequence[Fields]) -> None:
    """Prints a JSON object for each record.

    Raises:
        UserError: if one is no good.
    """
    job = command.job(model.parts, options)
    items = [command.item(fields, options) for fields in records]
    for fields, (_, answer) in zip(records, model.stream(job, items), strict=True):
        if isinstance(answer, UserError):
            raise answer
        print(to_json({**fields, **command.answer(answer)}))


@contextlib.contextmanager
def _cleared(output: str) -> Iterator[None]:
    """Leaves nothing half-written when a signal ends the block, and makes a sentence of a full disk."""

    def stop(number: int) -> None:
        for name in (output, output + REJECTED_SUFFIX) if output else ():
            remove(temporary_name(name))
        signals.leave(number, f"stopped; {output or 'the rest'} was not written")

    try:
        with signals.on_first(stop):
            yield
    except OSError as error:
        raise MachineError(f"{output or 'stdout'} cannot be written ({error.strerror or error})") from error


def _report(model: Model, seconds: float, long: str, rejected: int, output: str) -> None:
    tally = model.tally
    working = max(seconds - model.seconds_compiling, 1e-9)
    lines = [
        f"{tally.texts:,} texts in {seconds:.1f} s, {model.seconds_compiling:.1f} s of it compiling: "
        f"{tally.texts / working:,.1f} texts/s, {tally.pieces / working:,.0f} tokens/s without padding"
    ]
    if tally.long:
        done = {"cut": "cut", "stride": "read in windows", "refuse": "rejected"}[long]
        lines.append(f"texts longer than the model, {done}: {tally.long:,}")
    if rejected:
        where = f"; see {output}{REJECTED_SUFFIX}" if output else ""
        lines.append(f"rejected lines: {rejected:,}{where}")
    print("\n".join(lines), file=sys.stderr)
