"""Fills hidden words of a run's held-out examples: the quickest look at what it has learnt."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, MASK_TEXT, PAD_ID, SEP_ID
from fnet_jax.core.workdir import CHECKPOINT_DIR, workdir_of
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.inference.fill_mask import FillMask, Guess
from fnet_jax.inference.model import Model
from fnet_jax.inference.preprocessing import Preprocessor, Request
from fnet_jax.tasks.pretrain.dataset import PretrainDataset

HIDDEN_TEXT = "__"
_CONTEXT = 14  # tokens of text to show on either side


@dataclasses.dataclass(frozen=True)
class Filled:
    """A text, what stood at its [MASK] ("" if that is not known), and the best guesses."""

    text: str
    answer: str
    guesses: list[Guess]


def fill_held_out(model: Model, workdir: str, count: int, top_k: int = 5) -> list[Filled]:
    """Fills one hidden word in each of the first `count` held-out examples that have one.

    Where there are too few whole words, as with a very small vocabulary, any hidden token will do.

    The examples are those of the evaluation, with all their hidden tokens: FNet mixes every position into
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
    fill_mask = FillMask(model.info, top_k)
    preprocessor = fill_mask.preprocessor
    dataset = PretrainDataset(model.config, workdir)
    requests: list[Request] = []
    for whole_words in (True, False):
        if len(requests) < count:
            found = _requests(preprocessor.tokenizer, dataset, whole_words)
            requests = list(itertools.islice(found, count))
    return [
        _filled(preprocessor, request, answer[0])
        for request, answer in model.stream(fill_mask, requests)
        if isinstance(request, Request) and not isinstance(answer, UserError)
    ]


def _requests(tokenizer: Tokenizer, dataset: PretrainDataset, whole_words: bool) -> Iterator[Request]:
    """The held-out examples that have a [MASK], each with one position and the token that is hidden there.

    With `whole_words` only such as hide a whole word.
    """
    batches = dataset.batches("heldout", batch_size=1)
    for number in range(dataset.num_examples("heldout")):
        example = {name: field[0] for name, field in batches[number].items()}
        slot = _slot(tokenizer, example, whole_words)
        if slot is not None:
            position = example["masked_lm_positions"][slot]
            features = {name: example[name] for name in ("input_ids", "type_ids")}
            features["positions"] = position[None]
            yield Request([features], int(example["masked_lm_ids"][slot]))


def _slot(tokenizer: Tokenizer, example: dict[str, np.ndarray], whole_words: bool) -> int | None:
    """The slot of the middlemost [MASK]; with `whole_words`, of those that hide a whole word of 4 letters."""
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


def _filled(preprocessor: Preprocessor, request: Request, guesses: list[Guess]) -> Filled:
    """Shows the text around the [MASK], within its own segment; other hidden tokens as HIDDEN_TEXT."""
    (example,) = request.examples
    ids_L, position = example["input_ids"], int(example["positions"][0])
    stops = np.flatnonzero(np.isin(ids_L, (CLS_ID, SEP_ID, PAD_ID)))
    begin = max(position - _CONTEXT, stops[stops < position].max(initial=-1) + 1)
    end = min(position + 1 + _CONTEXT, stops[stops > position].min(initial=len(ids_L)))
    before, after = (
        _text(preprocessor.tokenizer, ids) for ids in (ids_L[begin:position], ids_L[position + 1 : end])
    )
    return Filled(f"{before} {MASK_TEXT} {after}", preprocessor.token_text(request.note), guesses)


def _text(tokenizer: Tokenizer, ids: np.ndarray) -> str:
    """Tokens as text, HIDDEN_TEXT where [MASK] stands."""
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
