"""Fills [MASK] with a trained model: the quickest look at what it has learnt."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fnet_jax.core.config import Config
from fnet_jax.core.errors import UserError
from fnet_jax.core.pieces import CLS_ID, MASK_ID, PAD_ID, SEP_ID, SPECIAL_PIECES
from fnet_jax.data.tokenizer import Tokenizer, load_tokenizer
from fnet_jax.train.checkpoint import Checkpointer
from fnet_jax.train.resolve import resolve
from fnet_jax.train.run import Run, set_up

MASK_TEXT = SPECIAL_PIECES[MASK_ID]
HIDDEN_TEXT = "__"


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
        self._run: Run = set_up(config, workdir, training=False)
        self._length = config.model.max_seq_length
        self.tokenizer: Tokenizer = load_tokenizer(self._run.dataset.tokenizer_path)
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
        """Fills one hidden word in each of the first `count` held-out examples that have one.

        Where there are too few whole words, as with a very small vocabulary, any hidden piece will do.

        The examples are those of the evaluation, with all their hidden pieces: FNet mixes every position
        into every other, and a text with a single [MASK] is not what it was trained on.

        Args:
            count: number of examples.
            top_k: guesses per example.
            context: pieces of text to show on either side; other hidden ones are shown as HIDDEN_TEXT.
        """
        words = self._held_out(count, top_k, context, whole_words=True)
        return words if len(words) == count else self._held_out(count, top_k, context, whole_words=False)

    def _held_out(self, count: int, top_k: int, context: int, whole_words: bool) -> list[Filled]:
        filled: list[Filled] = []
        batches, _, _ = self._run.host_batches("heldout", whole=True)
        for batch in batches:
            for row in range(len(batch["input_ids"])):
                example = {name: np.asarray(field[row]) for name, field in batch.items()}
                slot = self._hidden_slot(example, whole_words)
                if slot is None:
                    continue
                ids_L, position = example["input_ids"], int(example["masked_lm_positions"][slot])
                guesses = self._guess(ids_L, example["type_ids"], position, top_k)
                answer = self._shown(int(example["masked_lm_ids"][slot]))
                filled.append(Filled(self._excerpt(ids_L, position, context), answer, guesses))
                if len(filled) == count:
                    return filled
        return filled

    def _hidden_slot(self, example: dict[str, np.ndarray], whole_words: bool) -> int | None:
        """The slot of the middlemost [MASK]; if wished, of those that hide a whole, longer word."""
        used = np.flatnonzero(example["masked_lm_weights"])
        whole_L = example["input_ids"].copy()
        whole_L[example["masked_lm_positions"][used]] = example["masked_lm_ids"][used]
        starts_L = self.tokenizer.is_word_start[whole_L]
        for slot in sorted(used.tolist(), key=lambda slot: abs(slot - len(used) // 2)):
            position = example["masked_lm_positions"][slot]
            if example["input_ids"][position] != MASK_ID:
                continue
            word = self.tokenizer.decode([int(whole_L[position])])
            is_word = starts_L[position] and starts_L[position + 1] and len(word) >= 4 and word.isalpha()
            if is_word or not whole_words:
                return slot
        return None

    def _excerpt(self, ids_L: np.ndarray, position: int, context: int) -> str:
        """The text around `position`, within its own segment."""
        stops = np.flatnonzero(np.isin(ids_L, (CLS_ID, SEP_ID, PAD_ID)))
        begin = max(position - context, stops[stops < position].max(initial=-1) + 1)
        end = min(position + 1 + context, stops[stops > position].min(initial=len(ids_L)))
        return f"{self._text(ids_L[begin:position])} {MASK_TEXT} {self._text(ids_L[position + 1 : end])}"

    def _shown(self, piece: int) -> str:
        """One piece as text; pieces without any, such as a lone space, by their name."""
        return self.tokenizer.decode([piece]) or self.tokenizer.id_to_piece(piece)

    def _text(self, ids: np.ndarray) -> str:
        """Pieces as text, HIDDEN_TEXT where [MASK] stands."""
        parts = np.split(ids, np.flatnonzero(ids == MASK_ID))
        texts = [self.tokenizer.decode(part[part != MASK_ID].tolist()) for part in parts]
        return f" {HIDDEN_TEXT} ".join(texts)

    def _guess(self, ids_L: np.ndarray, type_ids_L: np.ndarray, position: int, top_k: int) -> list[Guess]:
        positions_BP = np.array([[position]], np.int32)
        with jax.set_mesh(self._run.mesh):
            top = self._top(self._variables, ids_L[None], type_ids_L[None], positions_BP, top_k=top_k)
        values_K, pieces_K = jax.device_get(top)
        return [
            Guess(self._shown(int(piece)), float(value))
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
