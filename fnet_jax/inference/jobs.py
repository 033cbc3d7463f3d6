"""What can be asked of a model: which rows an item becomes, what the devices do, what the answer is."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from fnet_jax.core.config import Head, ModelConfig
from fnet_jax.core.errors import UserError
from fnet_jax.inference.batching import Function, Variables
from fnet_jax.inference.texts import Asked, Long, Reader, Text
from fnet_jax.nn.heads import PretrainLogits, SpanLogits, make_model
from fnet_jax.tasks.classify import predictions
from fnet_jax.tasks.classify.predictions import Prediction

Fields = Mapping[str, jax.Array]
Item = TypeVar("Item")
Answer = TypeVar("Answer")

MASKED_LM: tuple[Head, ...] = ("pretrain", "masked_lm")


@dataclasses.dataclass(frozen=True)
class Parts:
    """What a job needs to know of a model.

    Attributes:
        head: what it was trained for.
        config: its shape.
        labels: names of the classes; () for regression and heads without classes.
        reader: makes rows of texts.
    """

    head: Head
    config: ModelConfig
    labels: tuple[str, ...]
    reader: Reader

    def require(self, what: str, heads: Sequence[Head]) -> None:
        """Refuses what the head of the model cannot do.

        Raises:
            UserError: naming the head.
        """
        if self.head not in heads:
            raise UserError(
                f"{what} needs a model with the head {' or '.join(heads)}; this one has {self.head}"
            )


class Job(abc.ABC, Generic[Item, Answer]):
    """A kind of question.

    Attributes:
        function: what each batch of rows goes through.
    """

    function: Function

    @abc.abstractmethod
    def ask(self, items: Sequence[Item]) -> list[Asked | UserError]:
        """What each item becomes, or what is wrong with it."""

    @abc.abstractmethod
    def answer(self, asked: Asked, outputs: Sequence[Any]) -> Answer:
        """The answer to one item, from the function's outputs for its rows."""


class Guess(NamedTuple):
    """A piece of the vocabulary as text, and its probability."""

    piece: str
    probability: float

    def as_json(self) -> dict[str, Any]:
        """The fields in a file."""
        return {"piece": self.piece, "probability": round(self.probability, 6)}


class FillMask(Job[str, list[list[Guess]]]):
    """The best pieces for each [MASK] of a text."""

    def __init__(self, parts: Parts, top_k: int, long: Long, hf_spacing: bool = False):
        """Makes `top_k` guesses."""
        parts.require("fill_mask", MASKED_LM)
        if not 1 <= top_k <= parts.config.vocab_size:
            raise UserError(
                f"top_k={top_k} must be within 1 … {parts.config.vocab_size}, the pieces there are"
            )
        self._reader, self._long, self._hf_spacing = parts.reader, long, hf_spacing
        model = make_model(parts.head, parts.config)

        def top(variables: Variables, fields: Fields) -> tuple[jax.Array, jax.Array]:
            logits = apply(model, variables, fields, fields["positions"])
            values_BPT, tokens_BPT = jax.lax.top_k(jax.nn.softmax(_masked_lm(logits)), top_k)
            return values_BPT, tokens_BPT

        self.function = Function("fill_mask", top, (top_k,))

    def ask(self, items: Sequence[str]) -> list[Asked | UserError]:
        """See `Reader.masked`."""
        return self._reader.masked(items, self._long, self._hf_spacing)

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> list[list[Guess]]:
        """Guesses for each [MASK], best first."""
        guesses = []
        for row, (values_PT, tokens_PT) in zip(asked.rows, outputs, strict=True):
            for slot in range(len(row["positions"])):
                best = zip(tokens_PT[slot], values_PT[slot], strict=True)
                guesses.append([Guess(self._reader.piece(int(piece)), float(value)) for piece, value in best])
        return guesses


class TextJob(Job[Text, Answer]):
    """Asked of a text or a pair; what comes out for the windows of a long one is averaged."""

    def __init__(self, parts: Parts, long: Long):
        self._reader, self._long = parts.reader, long

    def ask(self, items: Sequence[Text]) -> list[Asked | UserError]:
        """See `Reader.texts`."""
        return self._reader.texts(items, self._long)

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> Any:
        """The mean, an array."""
        return np.mean(outputs, axis=0)


class Encode(TextJob[np.ndarray]):
    """What the encoder makes of a text: f32[D], or f32[L, D]."""

    def __init__(self, parts: Parts, per_position: bool, long: Long):
        """Leaves the head out."""
        super().__init__(parts, _one_window(long) if per_position else long)
        model = make_model("encoder", parts.config)

        def encode(variables: Variables, fields: Fields) -> jax.Array:
            encoder = {
                group: {"encoder": tree["encoder"]} for group, tree in variables.items() if "encoder" in tree
            }
            sequence_BLD, pooled_BD = apply(model, encoder, fields)
            return (sequence_BLD if per_position else pooled_BD).astype(jnp.float32)

        self.function = Function("encode", encode, (per_position,))


class Logits(TextJob[np.ndarray]):
    """What the head gives."""

    def __init__(self, parts: Parts, long: Long):
        """Takes any head but `encoder` and `choice`."""
        heads: tuple[Head, ...] = (*MASKED_LM, "next_sentence", "sequence", "tokens", "span")
        parts.require("logits", heads)
        super().__init__(parts, long if parts.head in ("next_sentence", "sequence") else _one_window(long))
        model = make_model(parts.head, parts.config)

        def logits(variables: Variables, fields: Fields) -> jax.Array:
            if parts.head not in MASKED_LM:
                found = apply(model, variables, fields)
                return jnp.stack(found, axis=1) if isinstance(found, SpanLogits) else found
            ids_BL = fields["input_ids"]
            positions_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1])[None], ids_BL.shape)
            return _masked_lm(apply(model, variables, fields, positions_BL))

        self.function = Function("logits", logits)


class Classify(TextJob[Prediction]):
    """A class with the probabilities of all, or a number."""

    def __init__(self, parts: Parts, long: Long):
        """Takes a model of labelled texts."""
        parts.require("classify", ("sequence",))
        super().__init__(parts, long)
        self._labels = parts.labels
        self.function = Logits(parts, long).function

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> Prediction:
        """What `tasks/classify/predictions.py` makes of the logits."""
        return predictions.of_logits(self._labels, super().answer(asked, outputs)[None])[0]


class NextSentence(TextJob[float]):
    """The probability that the second text of a pair follows the first one."""

    def __init__(self, parts: Parts, long: Long):
        """Takes a model that was pretrained so."""
        parts.require("next_sentence", ("pretrain", "next_sentence"))
        super().__init__(parts, long)
        model = make_model(parts.head, parts.config)

        def logits(variables: Variables, fields: Fields) -> jax.Array:
            if parts.head == "next_sentence":
                return apply(model, variables, fields)
            nowhere_BP = jnp.zeros((len(fields["input_ids"]), 1), jnp.int32)
            return apply(model, variables, fields, nowhere_BP).next_sentence_BC

        self.function = Function("next_sentence", logits)

    def ask(self, items: Sequence[Text]) -> list[Asked | UserError]:
        """Single texts are refused."""
        if any(isinstance(item, str) for item in items):
            raise UserError("next_sentence takes pairs of texts; a single text was given")
        return super().ask(items)

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> float:
        """Of class 0."""
        return float(scipy.special.softmax(super().answer(asked, outputs))[0])


def _one_window(long: Long) -> Long:
    if long == "stride":
        raise UserError("long='stride' averages windows, which positions do not share; valid: cut, refuse")
    return long


def _masked_lm(logits: Any) -> jax.Array:
    """logits_BPV of a model with a masked-LM head, alone or beside another."""
    return logits.masked_lm_BPV if isinstance(logits, PretrainLogits) else logits


def apply(model: nn.Module, variables: Variables, fields: Fields, *more: jax.Array) -> Any:
    """The model's outputs, without dropout."""
    return model.apply(variables, fields["input_ids"], fields["type_ids"], *more, deterministic=True)
