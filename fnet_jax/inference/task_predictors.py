"""What is asked of heads with a task of their own: tags of words, one of several texts, spans of a context.

Long texts are divided as in training: `tasks/tag/features.py`, `tasks/answer/features.py`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Forward, Variables
from fnet_jax.inference.predictor import Fields, ModelInfo, Predictor
from fnet_jax.inference.preprocessing import Features, LongTextPolicy, Request
from fnet_jax.inference.text_predictors import logits_forward
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


class TagWords(Predictor[Words, list[Tag]]):
    """A tag for each word of a sentence."""

    name = "tag"
    heads = ("tokens",)

    def __init__(self, model: ModelInfo):
        """Takes the best tag of each token; that of its first token is a word's."""
        super().__init__(model)

        def best(variables: Variables, fields: Fields) -> tuple[jax.Array, jax.Array]:
            probabilities_BLC = jax.nn.softmax(model.apply(variables, fields))
            return jnp.argmax(probabilities_BLC, axis=-1), jnp.max(probabilities_BLC, axis=-1)

        self.forward = Forward("tag", best)

    def preprocess(self, inputs: Sequence[Words]) -> list[Request | UserError]:
        """The windows of each sentence."""
        return [self._preprocess(words) for words in inputs]

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> list[Tag]:
        """One for each word."""
        words, windows = request.note
        labels_NL, probabilities_NL = (np.stack(values) for values in zip(*outputs, strict=True))
        (labels,), (probabilities,) = (
            values_of_words(windows, values_NL, 1) for values_NL in (labels_NL, probabilities_NL)
        )
        return [
            Tag(word, self.model.labels[label], float(probability))
            for word, label, probability in zip(words, labels, probabilities, strict=True)
        ]

    def _preprocess(self, words: Words) -> Request | UserError:
        if not words:
            return UserError("sentence without words")
        windows = encode_sentences([words], self.preprocessor.tokenizer, self.preprocessor.length)
        examples = [self.preprocessor.example(window.tokens) for window in windows]
        self.preprocessor.counts.add(examples, len(windows) > 1)
        return Request(examples, (words, windows))


class Choose(Predictor[Choices, Prediction]):
    """Which of K texts follows a context; each is read with the context, as a pair."""

    name = "choose"
    heads = ("choice",)

    def __init__(self, model: ModelInfo, long: LongTextPolicy = "cut"):
        """Asks for one choice at a time, so that K is free."""
        super().__init__(model)
        self._long = long

        def logits(variables: Variables, fields: Fields) -> jax.Array:
            one_choice = {name: field[:, None] for name, field in fields.items()}
            return model.apply(variables, one_choice)[:, 0]

        self.forward = Forward("choose", logits)

    def preprocess(self, inputs: Sequence[Choices]) -> list[Request | UserError]:
        """An example for each choice; with stride, more."""
        return [self._preprocess(*choices) for choices in inputs]

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> Prediction:
        """The number of the choice, from 0, and the probabilities of all."""
        parts = np.split(np.array(outputs), np.cumsum(request.note)[:-1])
        logits_K = np.array([np.mean(part) for part in parts])
        return predictions.of_logits([str(k) for k in range(len(parts))], logits_K[None])[0]

    def _preprocess(self, context: str, choices: Sequence[str]) -> Request | UserError:
        if len(choices) < 2:
            return UserError(f"{len(choices)} choices; there must be 2 at least")
        examples: list[Features] = []
        counts = []
        for request in self.preprocessor.texts([(context, choice) for choice in choices], self._long):
            if isinstance(request, UserError):
                return request
            examples += request.examples
            counts.append(len(request.examples))
        return Request(examples, counts)


class AnswerQuestion(Predictor[Question, AnswerPrediction]):
    """The span of a context that answers a question."""

    name = "answer"
    heads = ("span",)

    def __init__(self, model: ModelInfo, no_answer: bool = False):
        """Takes a model of questions.

        Args:
            model: to be asked.
            no_answer: the text is "" where no answer outscores the best span by more than
                `data.null_score_diff_threshold`.
        """
        super().__init__(model)
        self._no_answer = no_answer
        self.forward = logits_forward(model)

    def preprocess(self, inputs: Sequence[Question]) -> list[Request | UserError]:
        """The windows of each context."""
        return [self._preprocess(*question) for question in inputs]

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> AnswerPrediction:
        """The best span over all windows."""
        logits_NCL, data = np.stack(outputs), self.preprocessor.data
        (found,) = best_answers(request.note, logits_NCL[:, 0], logits_NCL[:, 1], data.max_answer_length)
        is_none = found.null_score - found.score > data.null_score_diff_threshold
        return found._replace(text="") if self._no_answer and is_none else found

    def _preprocess(self, question: str, context: str) -> Request | UserError:
        if not context.strip():
            return UserError("empty context")
        tokenizer, length = self.preprocessor.tokenizer, self.preprocessor.length
        split = AnswerSplit(name="", ids=["0"], source="", questions=[question], contexts=[context])
        encoded = encode_questions(split, tokenizer, self.preprocessor.data, length)
        count = len(encoded.windows)
        batches = answer_batches(split, encoded, max_seq_length=length, batch_size=count, seed=0, train=False)
        batch = batches[0]
        examples = [{name: batch[name][n] for name in ("input_ids", "type_ids")} for n in range(count)]
        self.preprocessor.counts.add(examples, count > 1)
        return Request(examples, encoded)
