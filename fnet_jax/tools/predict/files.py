"""Works off a file in constant memory: answers into another, bad lines aside."""

import collections
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Literal

from tqdm import tqdm

from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.core.files import atomic_file, remove, temporary_name
from fnet_jax.inference.model import Model
from fnet_jax.runtime import signals
from fnet_jax.tasks.answer.files import question_records
from fnet_jax.tasks.files.reader import Format, Record, open_bytes, read_records
from fnet_jax.tasks.tag.conll import conll_records
from fnet_jax.tools.predict.commands import Command, Fields, Options
from fnet_jax.tools.predict.writers import SUFFIXES, JsonWriter, Writer, to_json, writing

REJECTED_SUFFIX = ".rejected.jsonl"
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
    valid = (".jsonl", *SUFFIXES.get(command, ()))
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


@dataclasses.dataclass(frozen=True)
class Source:
    """Where records come from.

    Attributes:
        path: of the file; "" for stdin.
        form: its format; squad is a whole file of JSON.
        columns: names of its columns, where it does not begin with them.
        word_column: of conll, that of the words.
    """

    path: str
    form: Format | Literal["conll", "squad"]
    columns: Sequence[str] | None = None
    word_column: int = 0

    @contextlib.contextmanager
    def records(self) -> Iterator[Iterator[Record]]:
        """The records; a bar on a terminal shows how much of the file has been read."""
        if self.form == "squad":
            questions = question_records(self.path)
            yield iter(tqdm(questions, unit="question", disable=None, leave=False))
            return
        name, form = self.path or "stdin", self.form
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_bytes(self.path)) if self.path else sys.stdin.buffer
            if form == "conll":
                records = conll_records(file, name, self.word_column)
            else:
                records = read_records(file, name, form, self.columns)
            size = os.path.getsize(self.path) if self.path else None
            bar = stack.enter_context(tqdm(total=size, unit="B", unit_scale=True, disable=None, leave=False))

            def shown() -> Iterator[Record]:
                for record in records:
                    yield record
                    bar.update((file.tell() if self.path else bar.n) - bar.n)

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
        signals.exit_now(number, f"stopped; {output or 'the rest'} was not written")

    try:
        with signals.on_stop(stop):
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
