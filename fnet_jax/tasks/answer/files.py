"""Task `answer`: the answer to a question as a span of a context, from JSON files as those of SQuAD.

Rajpurkar et al. 2016 (arXiv 1606.05250) and, with questions that have no answer, 2018 (arXiv 1806.03822).
"""

import collections
import dataclasses
import json
from typing import Any, NamedTuple

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.tasks.files.own_files import complete, paths_of
from fnet_jax.tasks.files.reader import Record, read_text
from fnet_jax.tasks.splits import Split, TaskData
from fnet_jax.tasks.table import Task

SUFFIXES = (".json",)
_SHOWN = 40  # characters, in messages


class Answer(NamedTuple):
    """A span of a context: its text, and the number of its first character."""

    text: str
    start: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerSplit(Split):
    """Questions about contexts; columns as in `Split`, and

    Attributes:
        questions: N texts.
        contexts: N texts; questions about one context share it.
        labels: N lists of the answers that count as right, [] where there is none; None where the source does
            not say.
    """

    questions: list[str]
    contexts: list[str]
    labels: list[list[Answer]] | None = None

    @property
    def has_unanswerable(self) -> bool:
        """Whether some question is known to have no answer."""
        return self.labels is not None and not all(self.labels)

    def example(self, row: int) -> tuple[str, ...]:
        """Question and context."""
        return self.questions[row], self.contexts[row]

    def key(self, row: int) -> str:
        """The context: all its questions are held out together."""
        return self.contexts[row]


def read_answer(task: Task, data: DataConfig) -> TaskData[AnswerSplit]:
    """Reads the files of `data.corpus`, `data.validation` and `data.test`.

    Raises:
        UserError: naming file and question, or the key.
    """
    splits = {name: _read(name, path) for name, path in paths_of(task, data, SUFFIXES).items()}
    if not splits["train"].is_labelled:
        raise UserError(f"{splits['train'].source} has no answers to train on")
    return complete(task, (), splits, data)


def question_records(path: str) -> list[Record]:
    """The questions of a file, with the fields `id`, `question` and `context`; "line" is their number.

    Raises:
        UserError: naming the question, if it is no such file.
    """
    split = _read("", path)
    fields = zip(split.ids, split.questions, split.contexts, strict=True)
    return [
        Record(number, {"id": name, "question": question, "context": context})
        for number, (name, question, context) in enumerate(fields, start=1)
    ]


def _read(name: str, path: str) -> AnswerSplit:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: no JSON ({error.msg} at column {error.colno})") from error
    questions: list[str] = []
    contexts: list[str] = []
    answers: list[list[Answer] | None] = []
    ids: list[str] = []
    for article in _list(path, "the file", content, "data"):
        for paragraph in _list(path, "an article", article, "paragraphs"):
            context = _text(path, "a paragraph", paragraph, "context")
            for question in _list(path, "a paragraph", paragraph, "qas"):
                ids.append(_text(path, "a question", question, "id"))
                place = f"question {ids[-1]!r}"
                questions.append(_text(path, place, question, "question"))
                contexts.append(context)
                answers.append(_answers(path, place, question, context))
    if not ids:
        raise UserError(f"{path} holds no questions")
    if len(set(ids)) < len(ids):
        ((twice, _),) = collections.Counter(ids).most_common(1)
        raise UserError(f"{path}: two questions have the id {twice!r}; give each its own")
    known = [found for found in answers if found is not None]
    if known and len(known) < len(answers):
        without = ids[answers.index(None)]
        raise UserError(
            f"{path}: question {without!r} has no field 'answers', and others have; give all or none"
        )
    return AnswerSplit(
        name=name, ids=ids, source=path, questions=questions, contexts=contexts, labels=known or None
    )


def _answers(path: str, place: str, question: Any, context: str) -> list[Answer] | None:
    """The answers that the context holds; None where there is no such field."""
    if "answers" not in question:
        return None
    if question.get("is_impossible", False):
        return []
    found = []
    for answer in _list(path, place, question, "answers"):
        text = _text(path, place, answer, "text")
        start = answer.get("answer_start")
        if type(start) is not int or start < 0:
            raise UserError(f"{path}: {place}: answer_start={start!r} is no number of a character")
        stands_there = context[start : start + len(text)]
        if stands_there != text:
            raise UserError(
                f"{path}: {place}: answer {text[:_SHOWN]!r} does not stand at character {start} "
                f"(answer_start) of its context, but {stands_there[:_SHOWN]!r}"
            )
        found.append(Answer(text, start))
    return found


def _list(path: str, place: str, value: Any, field: str) -> list[Any]:
    return _field(path, place, value, field, list, "list")


def _text(path: str, place: str, value: Any, field: str) -> str:
    text = _field(path, place, value, field, str, "text")
    if not text.strip():
        raise UserError(f"{path}: {place} has an empty field {field!r}")
    return text


def _field(path: str, place: str, value: Any, field: str, kind: type, name: str) -> Any:
    found = value.get(field) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise UserError(
            f"{path}: {place} has no {name} {field!r}; SQuAD's layout is data / paragraphs / context, qas / "
            "id, question, answers / text, answer_start"
        )
    return found
