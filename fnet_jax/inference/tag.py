"""Tags the words of a sentence; long sentences are divided as in training, `tasks/tag/features.py`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Forward, Variables
from fnet_jax.inference.predictor import Fields, ModelInfo, Predictor
from fnet_jax.inference.preprocessing import Request
from fnet_jax.tasks.tag.features import label_of_words, word_windows

Words = Sequence[str]


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
            label_of_words(windows, values_NL, 1) for values_NL in (labels_NL, probabilities_NL)
        )
        return [
            Tag(word, self.model.labels[label], float(probability))
            for word, label, probability in zip(words, labels, probabilities, strict=True)
        ]

    def _preprocess(self, words: Words) -> Request | UserError:
        if not words:
            return UserError("sentence without words")
        windows = word_windows([words], self.preprocessor.tokenizer, self.preprocessor.length)
        examples = [self.preprocessor.example(window.pieces) for window in windows]
        self.preprocessor.counts.add(examples, len(windows) > 1)
        return Request(examples, (words, windows))
