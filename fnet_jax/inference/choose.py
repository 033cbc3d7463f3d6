"""Chooses which of several texts follows a context."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Forward, Variables
from fnet_jax.inference.predictor import Fields, ModelInfo, Predictor
from fnet_jax.inference.preprocessing import Features, LongTextPolicy, Request
from fnet_jax.tasks import predictions
from fnet_jax.tasks.predictions import Prediction

Choices = tuple[str, Sequence[str]]  # a context, and what may follow


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
