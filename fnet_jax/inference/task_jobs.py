"""Jobs of heads that have a task of their own: tags of words, one of several texts, spans of a context.

Long texts are divided as in training: `tasks/tag/features.py`, `tasks/answer/features.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, PAD_ID, SEP_ID
from fnet_jax.inference.batching import Function, Row, Variables
from fnet_jax.inference.jobs import Fields, Job, Logits, Parts, apply
from fnet_jax.inference.texts import Asked, Long
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.answer.features import AnswerPrediction, answer_batches, best_answers, encode_questions
from fnet_jax.tasks.answer.files import AnswerSplit
from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.classify.predictions import Prediction
from fnet_jax.tasks.tag.features import encode_sentences, values_of_words

Words = Sequence[str]
Choices = tuple[str, Sequence[str]]  # a context, and what may follow
Question = tuple[str, str]  # and its context


class Tag(NamedTuple):
    """The tag of a word, and its probability."""

    word: str
    tag: str
    probability: float


class Tags(Job[Words, list[Tag]]):
    """A tag for each word of a sentence."""

    def __init__(self, parts: Parts):
        """Takes a model of tagged words."""
        parts.require("tag", ("tokens",))
        self._reader, self._labels = parts.reader, parts.labels
        model = make_model(parts.head, parts.config)

        def best(variables: Variables, fields: Fields) -> tuple[jax.Array, jax.Array]:
            probabilities_BLC = jax.nn.softmax(apply(model, variables, fields))
            return jnp.argmax(probabilities_BLC, axis=-1), jnp.max(probabilities_BLC, axis=-1)

        self.function = Function("tag", best)

    def ask(self, items: Sequence[Words]) -> list[Asked | UserError]:
        """The windows of each sentence."""
        return [self._ask(words) for words in items]

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> list[Tag]:
        """One for each word."""
        words, windows = asked.note
        labels_NL, probabilities_NL = (np.stack(values) for values in zip(*outputs, strict=True))
        (labels,), (probabilities,) = (
            values_of_words(windows, values_NL, 1) for values_NL in (labels_NL, probabilities_NL)
        )
        return [
            Tag(word, self._labels[label], float(probability))
            for word, label, probability in zip(words, labels, probabilities, strict=True)
        ]

    def _ask(self, words: Words) -> Asked | UserError:
        if not words:
            return UserError("sentence without words")
        length, tally = self._reader.length, self._reader.tally
        windows = encode_sentences([words], self._reader.tokenizer, length)
        rows = []
        for window in windows:
            input_ids_L = np.full(length, PAD_ID, np.int32)
            input_ids_L[: len(window.tokens) + 2] = [CLS_ID, *window.tokens, SEP_ID]
            rows.append({"input_ids": input_ids_L, "type_ids": np.zeros_like(input_ids_L)})
            tally.pieces += len(window.tokens) + 2
        tally.texts += 1
        tally.long += len(windows) > 1
        return Asked(rows, (words, windows))


class Choose(Job[Choices, Prediction]):
    """Which of several texts follows a context; each is read with the context, as a pair."""

    def __init__(self, parts: Parts, long: Long):
        """Takes a model of choices."""
        parts.require("choose", ("choice",))
        self._reader, self._long = parts.reader, long
        model = make_model(parts.head, parts.config)

        def logits(variables: Variables, fields: Fields) -> jax.Array:
            one_choice = {name: field[:, None] for name, field in fields.items()}
            return apply(model, variables, one_choice)[:, 0]

        self.function = Function("choose", logits)

    def ask(self, items: Sequence[Choices]) -> list[Asked | UserError]:
        """A row for each choice; with stride, more."""
        return [self._ask(*item) for item in items]

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> Prediction:
        """Number of the choice, from 0, and the probabilities of all."""
        parts = np.split(np.array(outputs), np.cumsum(asked.note)[:-1])
        logits_K = np.array([np.mean(part) for part in parts])
        return predictions.of_logits([str(k) for k in range(len(parts))], logits_K[None])[0]

    def _ask(self, context: str, choices: Sequence[str]) -> Asked | UserError:
        if len(choices) < 2:
            return UserError(f"{len(choices)} choices; there must be 2 at least")
        made = self._reader.texts([(context, choice) for choice in choices], self._long)
        rows: list[Row] = []
        counts = []
        for asked in made:
            if isinstance(asked, UserError):
                return asked
            rows += asked.rows
            counts.append(len(asked.rows))
        return Asked(rows, counts)


class Span(Job[Question, AnswerPrediction]):
    """The span of a context that answers a question."""

    def __init__(self, parts: Parts, may_have_none: bool = False):
        """Takes a model of questions.

        Args:
            parts: of the model.
            may_have_none: the text is "" where no answer outscores the best span by more than
                `data.null_score_diff_threshold`.
        """
        parts.require("answer", ("span",))
        self._reader, self._may_have_none = parts.reader, may_have_none
        self.function = Logits(parts, "cut").function

    def ask(self, items: Sequence[Question]) -> list[Asked | UserError]:
        """The windows of each context."""
        return [self._ask(*item) for item in items]

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> AnswerPrediction:
        """The best span over all windows."""
        logits_NCL, data = np.stack(outputs), self._reader.data
        (found,) = best_answers(asked.note, logits_NCL[:, 0], logits_NCL[:, 1], data.max_answer_length)
        is_none = found.null_score - found.score > data.null_score_diff_threshold
        return found._replace(text="") if self._may_have_none and is_none else found

    def _ask(self, question: str, context: str) -> Asked | UserError:
        if not context.strip():
            return UserError("empty context")
        reader = self._reader
        split = AnswerSplit(name="", ids=["0"], source="", questions=[question], contexts=[context])
        encoded = encode_questions(split, reader.tokenizer, reader.data, reader.length)
        count = len(encoded.windows)
        batch = answer_batches(
            split, encoded, max_seq_length=reader.length, batch_size=count, seed=0, train=False
        )[0]
        reader.tally.texts += 1
        reader.tally.long += count > 1
        reader.tally.pieces += int(np.sum(batch["input_ids"] != PAD_ID))
        return Asked(
            [{"input_ids": batch["input_ids"][n], "type_ids": batch["type_ids"][n]} for n in range(count)],
            encoded,
        )
