"""Fills hidden words of a run's held-out examples: the quickest look at what it has learnt."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, MASK_TEXT, PAD_ID, SEP_ID
from fnet_jax.core.workdir import CHECKPOINT_DIR, workdir_of
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.inference.batching import Row
from fnet_jax.inference.jobs import FillMask, Guess, Job
from fnet_jax.inference.model import Model
from fnet_jax.inference.texts import Asked
from fnet_jax.tasks.pretrain.dataset import PretrainDataset

HIDDEN_TEXT = "__"
_CONTEXT = 14  # pieces of text to show on either side


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text, what stood at its [MASK], and the best guesses."""

    text: str
    answer: str
    guesses: list[Guess]


def fill_held_out(model: Model, workdir: str, count: int, top_k: int = 5) -> list[Filled]:
    """Fills one hidden word in each of the first `count` held-out examples that have one.

    Where there are too few whole words, as with a very small vocabulary, any hidden piece will do.

    The examples are those of the evaluation, with all their hidden pieces: FNet mixes every position into
    every other, and a text with a single [MASK] is not what it was trained on.

    Args:
        model: of the run.
        workdir: of the run, or a checkpoint folder in it.
        count: number of examples.
        top_k: guesses per example.

    Raises:
        UserError: if the model has no masked-LM head, or its data are no longer there.
    """
    workdir = workdir_of(workdir)
    if not os.path.isdir(os.path.join(workdir, CHECKPOINT_DIR)):
        raise UserError(
            f"{workdir} is no workdir of a run, whose held-out examples could be filled; give texts"
        )
    job = _FillExamples(FillMask(model.parts, top_k, "cut"))
    dataset = PretrainDataset(model.config, workdir)
    hidden: list[_Hidden] = []
    for whole_words in (True, False):
        if len(hidden) < count:
            hidden = list(
                itertools.islice(_hidden(model.parts.reader.tokenizer, dataset, whole_words), count)
            )
    answers = model.stream(job, hidden)
    return [_filled(model, one, answer[0]) for one, answer in answers if not isinstance(answer, UserError)]


@dataclasses.dataclass(frozen=True)
class _Hidden:
    """An example, and the piece that is hidden at its only entry of `positions`."""

    row: Row
    piece: int


class _FillExamples(Job[_Hidden, list[list[Guess]]]):
    """`FillMask` for rows that are made already."""

    def __init__(self, fill_mask: FillMask):
        self._fill_mask, self.function = fill_mask, fill_mask.function

    def ask(self, items: Sequence[_Hidden]) -> list[Asked | UserError]:
        return [Asked([hidden.row]) for hidden in items]

    def answer(self, asked: Asked, outputs: Sequence[Any]) -> list[list[Guess]]:
        return self._fill_mask.answer(asked, outputs)


def _hidden(tokenizer: Tokenizer, dataset: PretrainDataset, whole_words: bool) -> Iterator[_Hidden]:
    """The examples of the held-out split that have a [MASK]; if wished, one in place of a whole word."""
    batches = dataset.batches("heldout", batch_size=1)
    for number in range(dataset.num_examples("heldout")):
        example = {name: field[0] for name, field in batches[number].items()}
        slot = _slot(tokenizer, example, whole_words)
        if slot is not None:
            position = example["masked_lm_positions"][slot]
            row = {name: example[name] for name in ("input_ids", "type_ids")}
            yield _Hidden({**row, "positions": position[None]}, int(example["masked_lm_ids"][slot]))


def _slot(tokenizer: Tokenizer, example: dict[str, np.ndarray], whole_words: bool) -> int | None:
    """The slot of the middlemost [MASK]; if wished, of those that hide a whole, longer word."""
    used = np.flatnonzero(example["masked_lm_weights"])
    whole_L = example["input_ids"].copy()
    whole_L[example["masked_lm_positions"][used]] = example["masked_lm_ids"][used]
    starts_L = tokenizer.is_word_start[whole_L]
    for slot in sorted(used.tolist(), key=lambda slot: abs(slot - len(used) // 2)):
        position = example["masked_lm_positions"][slot]
        if example["input_ids"][position] != MASK_ID:
            continue
        word = tokenizer.decode([int(whole_L[position])])
        is_word = starts_L[position] and starts_L[position + 1] and len(word) >= 4 and word.isalpha()
        if is_word or not whole_words:
            return slot
    return None


def _filled(model: Model, hidden: _Hidden, guesses: list[Guess]) -> Filled:
    """Shows the text around the [MASK], within its own segment; other hidden pieces as HIDDEN_TEXT."""
    reader = model.parts.reader
    ids_L, position = hidden.row["input_ids"], int(hidden.row["positions"][0])
    stops = np.flatnonzero(np.isin(ids_L, (CLS_ID, SEP_ID, PAD_ID)))
    begin = max(position - _CONTEXT, stops[stops < position].max(initial=-1) + 1)
    end = min(position + 1 + _CONTEXT, stops[stops > position].min(initial=len(ids_L)))
    before, after = (
        _text(reader.tokenizer, ids) for ids in (ids_L[begin:position], ids_L[position + 1 : end])
    )
    return Filled(f"{before} {MASK_TEXT} {after}", reader.piece(hidden.piece), guesses)


def _text(tokenizer: Tokenizer, ids: np.ndarray) -> str:
    """Pieces as text, HIDDEN_TEXT where [MASK] stands."""
    parts = np.split(ids, np.flatnonzero(ids == MASK_ID))
    texts = [tokenizer.decode(part[part != MASK_ID].tolist()) for part in parts]
    return f" {HIDDEN_TEXT} ".join(texts)


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
