"""Questions to batches: contexts to windows, answers to positions, and back.

Windows are those of BERT (arXiv 1810.04805, `run_squad`): a context too long for one example becomes several
that overlap, and an answer outside of a window is [CLS] there.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from fnet_jax.core.batch import span_spec
from fnet_jax.core.config import DataConfig
from fnet_jax.core.special_tokens import CLS_ID, SEP_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.tasks.answer.files import Answer, AnswerSplit
from fnet_jax.tasks.features import ExampleBatches, Rows, num_whole

_NOWHERE = (-1, -1)


class AnswerWindow(NamedTuple):
    """The tokens [begin, end) of the context of a question."""

    example: int  # number of the question
    begin: int
    end: int


class Context(NamedTuple):
    """A tokenised context."""

    text: str
    tokens: np.ndarray  # i32[tokens]
    offsets: np.ndarray  # i32[tokens, 2]: the characters [begin, end) that each token stands for


@dataclasses.dataclass(frozen=True)
class EncodedQuestions:
    """A split as tokens.

    Attributes:
        questions: tokens of each question, cut to `data.max_query_length` and half of an example.
        contexts: of each question; questions about one context share it.
        answers: first and last token of the first answer of each question; `_NOWHERE` without one.
        windows: of all questions, in their order.
    """

    questions: list[list[int]]
    contexts: list[Context]
    answers: list[tuple[int, int]]
    windows: list[AnswerWindow]

    def __len__(self) -> int:
        """Windows."""
        return len(self.windows)


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
        step, count = min(data.doc_stride, room), len(context.tokens)
        begins = range(0, max(count - room, 0) + step, step)
        windows += [AnswerWindow(number, begin, min(begin + room, count)) for begin in begins]
    answers = [
        _tokens_of(context, found[0]) if found else _NOWHERE
        for context, found in zip(contexts, split.labels or [[]] * len(contexts), strict=True)
    ]
    return EncodedQuestions(questions, contexts, answers, windows)


def _context(text: str, tokenizer: Tokenizer) -> Context:
    ids, offsets = tokenizer.encode_with_offsets(text)
    return Context(text, np.array(ids, np.int32), np.array(offsets, np.int32).reshape(-1, 2))


def _tokens_of(context: Context, answer: Answer) -> tuple[int, int]:
    """The first and the last token that stand for some of the answer's characters."""
    begins, ends = context.offsets.T
    touched = np.flatnonzero((ends > answer.start) & (begins < answer.start + len(answer.text)))
    return (int(touched[0]), int(touched[-1])) if len(touched) else _NOWHERE


def answer_batches(
    split: AnswerSplit, encoded: EncodedQuestions, *, max_seq_length: int, **options: Any
) -> ExampleBatches:
    """Windows of contexts with their questions as batches; fields as in `core.batch.span_spec`.

    Args:
        split: questions.
        encoded: the same, as `encode_questions` gives them.
        max_seq_length: L.
        **options: of `ExampleBatches`, which says what is raised.
    """
    spec = functools.partial(span_spec, max_seq_length=max_seq_length)
    return ExampleBatches(
        split, spec, functools.partial(_write, encoded), num_examples=len(encoded), **options
    )


def _write(encoded: EncodedQuestions, rows: Rows, numbers: np.ndarray) -> None:
    for row, number in enumerate(numbers):
        example, begin, end = encoded.windows[number]
        question, context = encoded.questions[example], encoded.contexts[example]
        offset = len(question) + 2  # of the window in the row
        last = offset + end - begin
        rows["input_ids"][row, :offset] = [CLS_ID, *question, SEP_ID]
        rows["input_ids"][row, offset:last] = context.tokens[begin:end]
        rows["input_ids"][row, last] = SEP_ID
        rows["type_ids"][row, offset : last + 1] = 1
        answer_begin, answer_last = encoded.answers[example]
        if begin <= answer_begin and answer_last < end:
            rows["start_positions"][row] = offset + answer_begin - begin
            rows["end_positions"][row] = offset + answer_last - begin


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
        max_answer_length: tokens.

    Returns:
        One for each question whose windows are all among the first N.
    """
    count = num_whole(encoded.windows, len(start_NL))
    found = [AnswerPrediction("", -np.inf, np.inf)] * count
    for (example, begin, end), start_L, end_L in zip(encoded.windows, start_NL, end_NL, strict=False):
        if example >= count:
            break
        offset = len(encoded.questions[example]) + 2
        inside = slice(offset, offset + end - begin)
        score, first, last = _best_span(start_L[inside], end_L[inside], max_answer_length)
        best = found[example]
        if score > best.score:
            text = _text(encoded.contexts[example], begin + first, begin + last)
            best = best._replace(text=text, score=score)
        null_score = min(best.null_score, float(start_L[0] + end_L[0]))
        found[example] = best._replace(null_score=null_score)
    return found


def _best_span(start: np.ndarray, end: np.ndarray, longest: int) -> tuple[float, int, int]:
    """The largest sum of a start and an end not before it, at most `longest` tokens in all; its tokens."""
    if not len(start):
        return -np.inf, 0, 0
    padded = np.concatenate([end.astype(np.float64), np.full(longest - 1, -np.inf)])
    ends = np.lib.stride_tricks.sliding_window_view(padded, longest)  # [start, length - 1]
    sums = start.astype(np.float64)[:, None] + ends
    begin, more = np.unravel_index(np.argmax(sums), sums.shape)
    return float(sums[begin, more]), int(begin), int(begin + more)


def _text(context: Context, first: int, last: int) -> str:
    """The characters that some tokens stand for; the space before a word belongs to its first token."""
    return context.text[context.offsets[first, 0] : context.offsets[last, 1]].strip()
