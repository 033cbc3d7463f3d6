"""Questions to batches: contexts to windows, answers to positions, and back.

Windows are those of BERT (arXiv 1810.04805, `run_squad`): a context too long for one example becomes several
that overlap, and an answer outside of a window is [CLS] there.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fnet_jax.core.batch import span_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.core.special_tokens import CLS_ID, SEP_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.answer.files import Answer, AnswerSplit
from fnet_jax.tasks.features import ExampleBatches

_NOWHERE = (-1, -1)


class SpanWindow(NamedTuple):
    """The pieces [begin, end) of the context of a question."""

    question: int
    begin: int
    end: int


class Context(NamedTuple):
    """A tokenised context."""

    text: str
    pieces: np.ndarray  # i32[P]
    offsets: np.ndarray  # i32[P, 2]: the characters [begin, end) that each piece stands for


@dataclasses.dataclass(frozen=True)
class EncodedQuestions:
    """A split as pieces.

    Attributes:
        questions: pieces of each question, cut to `data.max_query_length` and half of an example.
        contexts: of each question; questions about one context share it.
        answers: first and last piece of the first answer of each question; `_NOWHERE` without one.
        windows: of all questions, in their order.
    """

    questions: list[list[int]]
    contexts: list[Context]
    answers: list[tuple[int, int]]
    windows: list[SpanWindow]


def encode_questions(
    split: AnswerSplit, tokenizer: Tokenizer, data: DataConfig, max_seq_length: int
) -> EncodedQuestions:
    """Tokenises a split and cuts it into windows.

    Args:
        split: N questions.
        tokenizer: of the model.
        data: `max_query_length` and `doc_stride`.
        max_seq_length: L.
    """
    known = {text: _context(text, tokenizer) for text in dict.fromkeys(split.contexts)}
    contexts = [known[text] for text in split.contexts]
    longest = min(data.max_query_length, (max_seq_length - 3) // 2)
    questions = [ids[:longest] for ids in tokenizer.encode_batch(split.questions)]
    windows = []
    for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
        room = max_seq_length - 3 - len(question)
        step, count = min(data.doc_stride, room), len(context.pieces)
        begins = range(0, max(count - room, 0) + step, step)
        windows += [SpanWindow(number, begin, min(begin + room, count)) for begin in begins]
    answers = [
        _pieces_of(context, found[0]) if found else _NOWHERE
        for context, found in zip(contexts, split.answers or [[]] * len(contexts), strict=True)
    ]
    return EncodedQuestions(questions, contexts, answers, windows)


def _context(text: str, tokenizer: Tokenizer) -> Context:
    ids, offsets = tokenizer.encode_with_offsets(text)
    return Context(text, np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2))


def _pieces_of(context: Context, answer: Answer) -> tuple[int, int]:
    """The first and the last piece that stand for some of the answer's characters."""
    begins, ends = context.offsets.T
    touched = np.flatnonzero((ends > answer.start) & (begins < answer.start + len(answer.text)))
    return (int(touched[0]), int(touched[-1])) if len(touched) else _NOWHERE


class AnswerBatches(ExampleBatches):
    """Windows of contexts with their questions; fields as in `core.batch.span_spec`."""

    def __init__(
        self, split: AnswerSplit, encoded: EncodedQuestions, *, max_seq_length: int, **options: Any
    ) -> None:
        """Takes a split and what `encode_questions` made of it.

        Args:
            split: questions.
            encoded: the same.
            max_seq_length: L.
            **options: of `ExampleBatches`.

        Raises:
            UserError: if there is nothing to train on.
        """
        windows = encoded.windows
        super().__init__(
            split, lambda size: span_spec(size, max_seq_length), num_examples=len(windows), **options
        )
        self._encoded = encoded

    def _fill(self, rows: dict[str, np.ndarray], numbers: np.ndarray) -> None:
        for row, number in enumerate(numbers):
            window = self._encoded.windows[number]
            question, context = (
                self._encoded.questions[window.question],
                self._encoded.contexts[window.question],
            )
            first = len(question) + 2
            end = first + window.end - window.begin
            rows["input_ids"][row, :first] = [CLS_ID, *question, SEP_ID]
            rows["input_ids"][row, first:end] = context.pieces[window.begin : window.end]
            rows["input_ids"][row, end] = SEP_ID
            rows["type_ids"][row, first : end + 1] = 1
            start, last = self._encoded.answers[window.question]
            if window.begin <= start and last < window.end:
                rows["start_positions"][row] = first + start - window.begin
                rows["end_positions"][row] = first + last - window.begin


class AnswerPrediction(NamedTuple):
    """What a model says to a question.

    Attributes:
        text: of the best span.
        score: start and end logit of it, added up.
        null_score: the same at [CLS], the smallest of all windows; "no answer".
    """

    text: str
    score: float
    null_score: float


def best_answers(
    encoded: EncodedQuestions, start_NL: np.ndarray, end_NL: np.ndarray, max_answer_length: int
) -> list[AnswerPrediction]:
    """The best span of each question, over all its windows.

    Args:
        encoded: the split.
        start_NL, end_NL: logits of its first N windows.
        max_answer_length: pieces.

    Returns:
        One for each question whose windows are all among the first N.
    """
    count = whole_questions(encoded.windows, len(start_NL))
    found = [AnswerPrediction("", -np.inf, np.inf)] * count
    for window, start_L, end_L in zip(encoded.windows, start_NL, end_NL, strict=False):
        if window.question >= count:
            break
        first = len(encoded.questions[window.question]) + 2
        inside = slice(first, first + window.end - window.begin)
        score, begin, last = _best_span(start_L[inside], end_L[inside], max_answer_length)
        old = found[window.question]
        null_score = min(old.null_score, float(start_L[0] + end_L[0]))
        text, best = old.text, old.score
        if score > best:
            text, best = (
                _text(encoded.contexts[window.question], window.begin + begin, window.begin + last),
                score,
            )
        found[window.question] = AnswerPrediction(text, best, null_score)
    return found


def whole_questions(windows: Sequence[SpanWindow], count: int) -> int:
    """How many questions have all their windows among the first `count`."""
    return windows[count].question if count < len(windows) else windows[-1].question + 1


def _best_span(start: np.ndarray, end: np.ndarray, longest: int) -> tuple[float, int, int]:
    """The largest sum of a start and an end not before it, at most `longest` pieces in all; its pieces."""
    if not len(start):
        return -np.inf, 0, 0
    padded = np.concatenate([end.astype(np.float64), np.full(longest - 1, -np.inf)])
    ends = np.lib.stride_tricks.sliding_window_view(padded, longest)  # [start, length - 1]
    sums = start.astype(np.float64)[:, None] + ends
    begin, more = np.unravel_index(np.argmax(sums), sums.shape)
    return float(sums[begin, more]), int(begin), int(begin + more)


def _text(context: Context, first: int, last: int) -> str:
    """The characters that some pieces stand for; the space before a word belongs to its first piece."""
    return context.text[context.offsets[first, 0] : context.offsets[last, 1]].strip()
