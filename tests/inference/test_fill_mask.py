"""Guesses at [MASK]: which, and in which window of a long text."""

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, SEP_ID
from fnet_jax.inference.fill_mask import FillMask
from tests.inference.answering import WORDS, L, applied, close, model, padded, tokenizer


@pytest.mark.parametrize("head", ["pretrain", "masked_lm"])
def test_fill_mask_is_the_head_at_each_mask(head):
    encode = tokenizer().encode
    stop = encode("a.")[1:]  # a full stop that goes on with the word
    ids = padded([CLS_ID, *encode("I have a"), MASK_ID, *encode(" and a"), MASK_ID, *stop, SEP_ID])
    positions = np.flatnonzero(np.array(ids) == MASK_ID).astype(np.int32)
    logits = applied(head, ids, np.zeros_like(ids), positions)
    logits_PV = logits.masked_lm_BPV if head == "pretrain" else logits
    probabilities_PV = np.exp(logits_PV) / np.exp(logits_PV).sum(-1, keepdims=True)
    found = model(head).fill_mask("I have a [MASK] and a [MASK].", top_k=3)
    assert [len(guesses) for guesses in found] == [3, 3]
    assert model(head).fill_mask("I have a [MASK] and a [MASK].", 3, hf_mask_spacing=True) != found
    for guesses, probabilities_V in zip(found, probabilities_PV, strict=True):
        best = np.argsort(-probabilities_V)[:3]
        close([guess.probability for guess in guesses], probabilities_V[best])
        assert [guess.piece for guess in guesses] == [
            model(head).info.preprocessor.token_text(int(i)) for i in best
        ]


def test_texts_with_different_numbers_of_masks_share_a_batch():
    texts = ["a [MASK]", "a [MASK] and [MASK] and [MASK]", "[MASK] dog", "a [MASK] or a [MASK]"]
    together = model("pretrain").fill_mask(texts, top_k=4)
    assert [len(masks) for masks in together] == [1, 3, 1, 2]
    for text, masks in zip(texts, together, strict=True):
        for guesses, alone in zip(masks, model("pretrain").fill_mask(text, top_k=4), strict=True):
            close([guess.probability for guess in guesses], [guess.probability for guess in alone])


def test_each_mask_of_a_long_text_is_seen_in_the_middle_of_a_window():
    text = " ".join(["[MASK]", *WORDS, "[MASK]", *WORDS, "[MASK]"])
    ids = [piece for part in text.split("[MASK]") for piece in (*tokenizer().encode(part), MASK_ID)][:-1]
    (request,) = FillMask(model("pretrain").info, long="stride").preprocess([text])
    assert not isinstance(request, UserError)
    seen = [(row, int(position)) for row in request.examples for position in row["positions"]]
    masks = [place for place, piece in enumerate(ids) if piece == MASK_ID]
    assert len(seen) == len(masks) == 3
    for (row, position), place in zip(seen, masks, strict=True):
        begin = place - position + 1
        np.testing.assert_array_equal(row["input_ids"][1:-1], ids[begin : begin + L - 2])
        assert position >= L // 4 or begin == 0
        assert position < L - L // 4 or begin == len(ids) - (L - 2)
    assert len(model("pretrain").fill_mask(text, long="stride")) == 3
    with pytest.raises(UserError, match=r"its last \[MASK\] stands behind the 24"):
        model("pretrain").fill_mask(text)
