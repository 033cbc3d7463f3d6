"""Guesses the words at [MASK]."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import MASK_ID, MASK_TEXT
from fnet_jax.inference.batching import Forward, Variables
from fnet_jax.inference.predictor import MASKED_LM, Fields, ModelInfo, Predictor
from fnet_jax.inference.preprocessing import Features, LongTextPolicy, Request, window_starts
from fnet_jax.nn.heads import PretrainLogits


class Guess(NamedTuple):
    """A token of the vocabulary as text, and its probability."""

    piece: str
    probability: float

    def as_json(self) -> dict[str, Any]:
        """The fields in a file."""
        return {"piece": self.piece, "probability": round(self.probability, 6)}


class FillMask(Predictor[str | Request, list[list[Guess]]]):
    """The best tokens for each [MASK] of a text; each [MASK] is read in one window, far from its ends."""

    name = "fill_mask"
    heads = MASKED_LM

    def __init__(
        self, model: ModelInfo, top_k: int = 5, long: LongTextPolicy = "cut", hf_mask_spacing: bool = False
    ):
        """Makes `top_k` guesses; for `hf_mask_spacing` see `Tokenizer.encode_masked`."""
        super().__init__(model)
        if not 1 <= top_k <= model.config.vocab_size:
            raise UserError(
                f"top_k={top_k} must be within 1 … {model.config.vocab_size}, the pieces there are"
            )
        self._long, self._hf_mask_spacing = long, hf_mask_spacing

        def top(variables: Variables, fields: Fields) -> tuple[jax.Array, jax.Array]:
            logits = model.apply(variables, fields, fields["positions"])
            values_BPT, tokens_BPT = jax.lax.top_k(jax.nn.softmax(masked_lm(logits)), top_k)
            return values_BPT, tokens_BPT

        self.forward = Forward("fill_mask", top, (top_k,))

    def preprocess(self, inputs: Sequence[str | Request]) -> list[Request | UserError]:
        """Examples with `positions` i32[P] of [MASK] besides `input_ids` and `type_ids` i32[L].

        An input may be such a request already.
        """
        return [text if isinstance(text, Request) else self._preprocess(text) for text in inputs]

    def postprocess(self, request: Request, outputs: Sequence[Any]) -> list[list[Guess]]:
        """Guesses for each [MASK], best first."""
        guesses = []
        for example, (values_PT, tokens_PT) in zip(request.examples, outputs, strict=True):
            for slot in range(len(example["positions"])):
                best = zip(tokens_PT[slot], values_PT[slot], strict=True)
                guesses.append(
                    [Guess(self.preprocessor.token_text(int(token)), float(value)) for token, value in best]
                )
        return guesses

    def _preprocess(self, text: str) -> Request | UserError:
        if MASK_TEXT not in text:
            return UserError(
                f"text {_shown(text)} has no {MASK_TEXT}; put {MASK_TEXT} where a word is to be guessed"
            )
        length, size = self.preprocessor.length, self.preprocessor.length - 2
        ids = self.preprocessor.tokenizer.encode_masked(text, self._hf_mask_spacing)
        if refused := self.preprocessor.refusal(len(ids) + 2, self._long):
            return refused
        masks_P = np.flatnonzero(np.array(ids) == MASK_ID)
        starts_W = np.array(window_starts(len(ids), size) if self._long == "stride" else [0])
        examples: list[Features] = []
        is_behind = masks_P[-1] >= starts_W[-1] + size
        if not is_behind:
            from_center_PW = np.abs(masks_P[:, None] - starts_W - size / 2)
            best_P = starts_W[from_center_PW.argmin(axis=1)]
            for start in np.unique(best_P):
                positions_P = (masks_P[best_P == start] - start + 1).astype(np.int32)
                window = self.preprocessor.example(ids[start : start + size])
                examples.append({**window, "positions": positions_P})
        self.preprocessor.counts.add(examples, len(ids) > size)
        if is_behind:
            return UserError(
                f"text {_shown(text)} has {len(ids) + 2} pieces, and its last {MASK_TEXT} stands behind the "
                f"{length} that the model takes; shorten the text, or take windows of it (stride)"
            )
        return Request(examples)


def masked_lm(logits: Any) -> jax.Array:
    """logits_BPV of a model with a masked-LM head, alone or beside another."""
    return logits.masked_lm_BPV if isinstance(logits, PretrainLogits) else logits


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
