"""Texts and pairs of texts to rows that a model reads, whatever their length."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from fnet_jax.core.config import DataConfig
from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, MASK_TEXT, PAD_ID, SEP_ID
from fnet_jax.data.tokenizer import Tokenizer
from fnet_jax.inference.batching import Row
from fnet_jax.inference.windows import starts, windows
from fnet_jax.tasks.features import features, full_length

# What becomes of texts that are longer than the model. cut: as in training, `data.truncation`. stride:
# windows that overlap by half, `inference/windows.py`. refuse: an error.
Long = Literal["cut", "stride", "refuse"]
Text = str | tuple[str, str]


@dataclasses.dataclass
class Tally:
    """What has been worked off.

    Attributes:
        texts: or pairs of texts.
        pieces: that the model has read, padding left out.
        long: texts that did not fit into the model.
    """

    texts: int = 0
    pieces: int = 0
    long: int = 0


class Asked(NamedTuple):
    """What a question becomes: the rows that the model reads, and what else is needed for the answer."""

    rows: Sequence[Row]
    note: Any = None


@dataclasses.dataclass(frozen=True)
class Reader:
    """Makes rows of texts; all are padded to `length`.

    Attributes:
        tokenizer: of the model.
        length: L.
        data: `truncation` and `swap_texts`, as in training.
        tally: is added to.
    """

    tokenizer: Tokenizer
    length: int
    data: DataConfig
    tally: Tally

    def texts(self, texts: Sequence[Text], long: Long) -> list[Asked | UserError]:
        """One row of `input_ids` and `type_ids` i32[L] for each text, or several with stride."""
        pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
        ids_a = self.tokenizer.encode_batch([a for a, _ in pairs])
        ids_b = iter(self.tokenizer.encode_batch([b for _, b in pairs if b is not None]))
        made = []
        for (_, b), a_ids in zip(pairs, ids_a, strict=True):
            b_ids = None if b is None else next(ids_b)
            if b_ids is not None and self.data.swap_texts:
                a_ids, b_ids = b_ids, a_ids
            made.append(self._text(a_ids, b_ids, long))
        return made

    def piece(self, piece_id: int) -> str:
        """One piece as text; pieces without any, such as a lone space, by their name."""
        return self.tokenizer.decode([piece_id]) or self.tokenizer.id_to_token(piece_id)

    def masked(self, texts: Sequence[str], long: Long, hf_spacing: bool = False) -> list[Asked | UserError]:
        """The same, with `positions` of [MASK]; each [MASK] stands in one row, far from its ends.

        `hf_spacing`: see `Tokenizer.encode_masked`.
        """
        return [self._masked(text, long, hf_spacing) for text in texts]

    def _text(self, a_ids: list[int], b_ids: list[int] | None, long: Long) -> Asked | UserError:
        if refused := self._refused(full_length(a_ids, b_ids), long):
            return refused
        parts = windows(a_ids, b_ids, self.length) if long == "stride" else [(a_ids, b_ids)]
        made: list[Row] = []
        for part in parts:
            input_ids_L, type_ids_L = features(*part, self.length, self.data.truncation)
            self.tally.pieces += min(full_length(*part), self.length)
            made.append({"input_ids": input_ids_L, "type_ids": type_ids_L})
        return Asked(made)

    def _masked(self, text: str, long: Long, hf_spacing: bool) -> Asked | UserError:
        if MASK_TEXT not in text:
            return UserError(
                f"text {_shown(text)} has no {MASK_TEXT}; put {MASK_TEXT} where a word is to be guessed"
            )
        ids = self.tokenizer.encode_masked(text, hf_spacing)
        if refused := self._refused(full_length(ids, None), long):
            return refused
        masks = np.flatnonzero(np.array(ids) == MASK_ID)
        size = self.length - 2
        begins = np.array(starts(len(ids), size)) if long == "stride" else np.array([0])
        if masks[-1] >= begins[-1] + size:
            return UserError(
                f"text {_shown(text)} has {len(ids) + 2} pieces, and its last {MASK_TEXT} stands behind the "
                f"{self.length} that the model takes; shorten the text, or take windows of it (stride)"
            )
        center_P1 = masks[:, None] - begins - size / 2
        best = begins[np.abs(center_P1).argmin(axis=1)]
        return Asked([self._masked_row(ids, int(begin), masks[best == begin]) for begin in np.unique(best)])

    def _masked_row(self, ids: list[int], begin: int, masks: np.ndarray) -> Row:
        window = [CLS_ID, *ids[begin : begin + self.length - 2], SEP_ID]
        self.tally.pieces += len(window)
        input_ids_L = np.full(self.length, PAD_ID, np.int32)
        input_ids_L[: len(window)] = window
        positions_P = (masks - begin + 1).astype(np.int32)
        return {"input_ids": input_ids_L, "type_ids": np.zeros_like(input_ids_L), "positions": positions_P}

    def _refused(self, pieces: int, long: Long) -> UserError | None:
        """Counts the text, and refuses it if it is to be."""
        self.tally.texts += 1
        self.tally.long += pieces > self.length
        if pieces <= self.length or long != "refuse":
            return None
        return UserError(f"text has {pieces} pieces, the model takes {self.length}; cut it, or take windows")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
