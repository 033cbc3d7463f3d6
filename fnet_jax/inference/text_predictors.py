"""What is asked about a text or a pair: vectors, logits, a class, whether one sentence follows another."""

from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from fnet_jax.core.config import Head
from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Forward, Variables
from fnet_jax.inference.fill_mask import masked_lm
from fnet_jax.inference.predictor import MASKED_LM, Fields, ModelInfo, TextPredictor
from fnet_jax.inference.preprocessing import LongTextPolicy, Request, Text
from fnet_jax.nn.heads import SpanLogits
from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.classify.predictions import Prediction


class Encode(TextPredictor[np.ndarray]):
    """What the encoder makes of a text: f32[D], or f32[L, D]."""

    name = "encode"
    heads = get_args(Head)

    def __init__(self, model: ModelInfo, per_position: bool = False, long: LongTextPolicy = "cut"):
        """Leaves the head out."""
        super().__init__(model, _one_window(long) if per_position else long)

        def encode(variables: Variables, fields: Fields) -> jax.Array:
            sequence_BLD, pooled_BD = model.apply_encoder(variables, fields)
            return (sequence_BLD if per_position else pooled_BD).astype(jnp.float32)

        self.forward = Forward("encode", encode, (per_position,))


class Logits(TextPredictor[np.ndarray]):
    """What the head gives; of the head `span` the start and the end, stacked."""

    name = "logits"
    heads = (*MASKED_LM, "next_sentence", "sequence", "tokens", "span")

    def __init__(self, model: ModelInfo, long: LongTextPolicy = "cut"):
        """Averages windows where the head answers for a text as a whole."""
        super().__init__(model, long if model.head in ("next_sentence", "sequence") else _one_window(long))
        self.forward = logits_forward(model)


class Classify(TextPredictor[Prediction]):
    """A class with the probabilities of all, or a number."""

    name = "classify"
    heads = ("sequence",)

    def __init__(self, model: ModelInfo, long: LongTextPolicy = "cut"):
        """Shares the program of `Logits`."""
        super().__init__(model, long)
        self.forward = logits_forward(model)

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> Prediction:
        """See `tasks/classify/predictions.py`."""
        logits_C = super().postprocess(request, outputs)
        return predictions.of_logits(self.model.labels, logits_C[None])[0]


class NextSentence(TextPredictor[float]):
    """The probability that the second text of a pair follows the first one."""

    name = "next_sentence"
    heads = ("pretrain", "next_sentence")

    def __init__(self, model: ModelInfo, long: LongTextPolicy = "cut"):
        """Leaves out the masked LM of a model that has it."""
        super().__init__(model, long)

        def logits(variables: Variables, fields: Fields) -> jax.Array:
            nowhere_BP = jnp.zeros((len(fields["input_ids"]), 1), jnp.int32)
            found = model.apply(variables, fields, nowhere_BP)
            return found if model.head == "next_sentence" else found.next_sentence_BC

        self.forward = Forward("next_sentence", logits)

    def preprocess(self, inputs: Sequence[Text]) -> list[Request | UserError]:
        """Refuses single texts."""
        if any(isinstance(text, str) for text in inputs):
            raise UserError("next_sentence takes pairs of texts; a single text was given")
        return super().preprocess(inputs)

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> float:
        """The probability of class 0."""
        return float(scipy.special.softmax(super().postprocess(request, outputs))[0])


def logits_forward(model: ModelInfo) -> Forward:
    """The logits of a head as one array with a leading B."""

    def logits(variables: Variables, fields: Fields) -> jax.Array:
        found = model.apply(variables, fields)
        return jnp.stack(found, axis=1) if isinstance(found, SpanLogits) else masked_lm(found)

    return Forward("logits", logits)


def _one_window(long: LongTextPolicy) -> LongTextPolicy:
    if long == "stride":
        raise UserError("long='stride' averages windows, which positions do not share; valid: cut, refuse")
    return long
