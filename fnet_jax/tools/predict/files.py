"""Answers the records of a file in constant memory: answers into another file, bad lines aside."""

import collections
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from tqdm import tqdm

from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.core.files import remove, temporary_name
from fnet_jax.inference.model import PREDICTORS, Model
from fnet_jax.inference.predictor import Predictor
from fnet_jax.runtime import signals
from fnet_jax.tasks.answer.files import question_records
from fnet_jax.tasks.files.reader import Format, Record, open_bytes, read_records
from fnet_jax.tasks.tag.conll import conll_records
from fnet_jax.tools.predict.commands import COMMANDS, FieldNames, Fields
from fnet_jax.tools.predict.writers import REJECTED_SUFFIX, outputs, to_json

Arguments = Mapping[str, Any]  # of a predictor, by the names of their flags


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


def answer_file(
    model: Model, name: str, arguments: Arguments, names: FieldNames, source: Source, output: str
) -> None:
    """Answers all records of a file, in their order, and says how fast.

    Args:
        model: to be asked.
        name: of the command.
        arguments: of its predictor.
        names: of the fields that the command reads.
        source: of the records.
        output: file for the answers, OUTPUT.rejected.jsonl for what is no good; "" for the screen.

    Raises:
        UserError: if no record is any good.
        MachineError: if the answers cannot be written.
    """
    command, predictor = COMMANDS[name], _predictor(model, name, arguments)
    waiting: collections.deque[Record] = collections.deque()
    start = time.perf_counter()

    def items() -> Iterator[Any]:
        for record in records:
            try:
                if record.fault:
                    raise UserError(record.fault)
                item = command.item(record.fields, names)
            except UserError as error:
                rejects.add(record, str(error))
                continue
            waiting.append(record)
            yield item

    answered = 0
    with _cleared(output), source.records() as records, outputs(output) as (writer, rejects):
        for _, answer in model.stream(predictor, items()):
            record = waiting.popleft()
            if isinstance(answer, UserError):
                rejects.add(record, str(answer))
            else:
                writer.write(record, command.answer(answer))
                answered += 1
        if not answered:
            first = f": {rejects.first}" if rejects.first else ""
            raise UserError(f"{source.path or 'stdin'} has nothing to work on{first}")
    _report(model, time.perf_counter() - start, arguments.get("long", "cut"), rejects.count, output)


def answer_here(
    model: Model, name: str, arguments: Arguments, names: FieldNames, records: Sequence[Fields]
) -> None:
    """Prints a JSON object for each record.

    Raises:
        UserError: if one is no good.
    """
    command, predictor = COMMANDS[name], _predictor(model, name, arguments)
    items = [command.item(fields, names) for fields in records]
    for fields, (_, answer) in zip(records, model.stream(predictor, items), strict=True):
        if isinstance(answer, UserError):
            raise answer
        print(to_json({**fields, **command.answer(answer)}))


def _predictor(model: Model, name: str, arguments: Arguments) -> Predictor[Any, Any]:
    return PREDICTORS[name.replace("-", "_")](model.info, **arguments)


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
    counts = model.counts
    working = max(seconds - model.seconds_compiling, 1e-9)
    lines = [
        f"{counts.texts:,} texts in {seconds:.1f} s, {model.seconds_compiling:.1f} s of it compiling: "
        f"{counts.texts / working:,.1f} texts/s, {counts.tokens / working:,.0f} tokens/s without padding"
    ]
    if counts.long:
        done = {"cut": "cut", "stride": "read in windows", "refuse": "rejected"}[long]
        lines.append(f"texts longer than the model, {done}: {counts.long:,}")
    if rejected:
        where = f"; see {output}{REJECTED_SUFFIX}" if output else ""
        lines.append(f"rejected lines: {rejected:,}{where}")
    print("\n".join(lines), file=sys.stderr)
