"""Fills [MASK] with a trained model: the quickest look at what it has learnt."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnet_jax.core.batch import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES
from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.data.dataset import TOKENIZER_FILE
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer
from fnet_jax.train.checkpoint import Checkpointer, resolve
from fnet_jax.train.run import Run, set_up

MASK_TEXT = SPECIAL_PIECES[MASK_ID]


class Guess(NamedTuple):
    """A piece of the vocabulary and its probability."""

    piece: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text, what stood at its [MASK] where that is known, and the best guesses."""

    text: str
    answer: str
    guesses: list[Guess]


class MaskFiller:
    """A model from a workdir, compiled once for one example of its own length.

    FNet mixes padding like any other token, so every text is padded to the length of training.
    """

    def __init__(self, config: Config, workdir: str, step: int | None = None):
        """Loads a checkpoint, the newest by default.

        Raises:
            UserError: if there is no such checkpoint, or it does not fit `config`.
        """
        workdir, step = resolve(workdir, step)
        self._run: Run = set_up(config, workdir)
        self._length = config.model.max_seq_length
        self.tokenizer: Tokenizer = load_tokenizer(os.path.join(self._run.data_dir, TOKENIZER_FILE))
        checkpointer = Checkpointer(workdir, read_only=True)
        self._variables = checkpointer.restore_variables(step, self._run.abstract.variables)
        checkpointer.close()

    def fill(self, text: str, top_k: int = 5) -> list[list[Guess]]:
        """The best pieces for each [MASK] of `text`, best first.

        Raises:
            UserError: if the text has no [MASK], or is too long for the model.
        """
        parts = text.split(MASK_TEXT)
        if len(parts) == 1:
            raise UserError(
                f"text {text!r} has no {MASK_TEXT}; put {MASK_TEXT} where a word is to be guessed"
            )
        ids = [CLS_ID, *self.tokenizer.encode(parts[0])]
        for part in parts[1:]:
            ids += [MASK_ID, *self.tokenizer.encode(part)]
        ids.append(SEP_ID)
        if len(ids) > self._length:
            raise UserError(f"text has {len(ids)} pieces, the model takes {self._length}; shorten it")
        ids_L = np.full(self._length, PAD_ID, np.int32)
        ids_L[: len(ids)] = ids
        positions = np.flatnonzero(ids_L == MASK_ID)
        return [self._guess(ids_L, np.zeros_like(ids_L), int(position), top_k) for position in positions]

    def held_out(self, count: int, top_k: int = 5, context: int = 14) -> list[Filled]:
        """Masks one whole word in each of the first `count` held-out examples that have one, and fills it.

        Args:
            count: number of examples.
            top_k: guesses per example.
            context: pieces of text to show on either side; the model sees the whole example.
        """
        filled: list[Filled] = []
        batches, _ = self._run.host_batches("heldout")
        for batch in batches:
            ids_BL = np.array(batch["input_ids"])
            used_BP = np.asarray(batch["masked_lm_weights"]) > 0
            rows, slots = np.nonzero(used_BP)
            ids_BL[rows, batch["masked_lm_positions"][rows, slots]] = batch["masked_lm_ids"][rows, slots]
            for ids_L, type_ids_L in zip(ids_BL, np.asarray(batch["type_ids"]), strict=True):
                position = self._whole_word(ids_L)
                if position is None:
                    continue
                answer = self.tokenizer.decode([int(ids_L[position])])
                ids_L[position] = MASK_ID
                guesses = self._guess(ids_L, type_ids_L, position, top_k)
                filled.append(Filled(self._excerpt(ids_L, position, context), answer, guesses))
                if len(filled) == count:
                    return filled
        return filled

    def _whole_word(self, ids_L: np.ndarray) -> int | None:
        """The position nearest to the middle of the text of a word of four letters or more in one piece."""
        used = int((ids_L != PAD_ID).sum())
        starts_L = self.tokenizer.is_word_start[ids_L]
        for position in sorted(range(1, used - 1), key=lambda i: abs(i - used // 2)):
            word = self.tokenizer.decode([int(ids_L[position])])
            if starts_L[position] and starts_L[position + 1] and len(word) >= 4 and word.isalpha():
                return position
        return None

    def _excerpt(self, ids_L: np.ndarray, position: int, context: int) -> str:
        """The text around `position`, within its own segment."""
        stops = np.flatnonzero(np.isin(ids_L, (CLS_ID, SEP_ID, PAD_ID)))
        begin = max(position - context, stops[stops < position].max(initial=-1) + 1)
        end = min(position + 1 + context, stops[stops > position].min(initial=len(ids_L)))
        left, right = ids_L[begin:position].tolist(), ids_L[position + 1 : end].tolist()
        return f"{self.tokenizer.decode(left)} {MASK_TEXT} {self.tokenizer.decode(right)}"

    def _guess(self, ids_L: np.ndarray, type_ids_L: np.ndarray, position: int, top_k: int) -> list[Guess]:
        positions_BP = np.array([[position]], np.int32)
        with jax.set_mesh(self._run.mesh):
            top = self._top(self._variables, ids_L[None], type_ids_L[None], positions_BP, top_k=top_k)
        values_K, pieces_K = jax.device_get(top)
        return [
            Guess(self.tokenizer.decode([int(piece)]) or self.tokenizer.id_to_piece(int(piece)), float(value))
            for value, piece in zip(values_K, pieces_K, strict=True)
        ]

    @functools.cached_property
    def _top(self) -> jax.stages.Wrapped:
        """Jitted: the `top_k` probabilities and pieces at one position of one example."""

        def top(variables, input_ids_BL, type_ids_BL, positions_BP, top_k):
            logits: Any = self._run.objective.model.apply(
                variables, input_ids_BL, type_ids_BL, positions_BP, deterministic=True
            )
            return jax.lax.top_k(jax.nn.softmax(logits.masked_lm_BPV[0, 0]), top_k)

        return jax.jit(top, static_argnames="top_k")


def show(filled: Sequence[Filled]) -> str:
    """The guesses as lines for a person."""
    lines = []
    for item in filled:
        guesses = ", ".join(f"{guess.piece} {guess.probability:.0%}" for guess in item.guesses)
        lines += [
            f"  {item.text}",
            f"      was: {item.answer:14s} guesses: {guesses}" if item.answer else f"      {guesses}",
        ]
    return "\n".join(lines)
