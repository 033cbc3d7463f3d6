"""Tags of words, choices and spans, against the heads themselves."""

import numpy as np
import pytest

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import CLS_ID, SEP_ID
from fnet_jax.tasks.features import features
from tests.inference.answering import LONG, WORDS, L, applied, close, model, padded, tokenizer


def test_a_tag_for_each_word_of_short_and_long_sentences():
    asked = model("tokens")
    for words in (WORDS[:3], WORDS * 2):
        found = asked.tag(words)
        assert [tag.word for tag in found] == words
        assert {tag.tag for tag in found} <= set(asked.labels)
        assert all(0.2 <= tag.probability <= 1 for tag in found)
    ids = [CLS_ID]
    starts = []
    for word in WORDS[:3]:
        starts.append(len(ids))
        ids += tokenizer().encode(word)
    logits_LC = applied("tokens", padded([*ids, SEP_ID]), np.zeros(L))
    wanted = [asked.labels[i] for i in logits_LC[starts].argmax(-1)]
    assert [tag.tag for tag in asked.tag(" ".join(WORDS[:3]))] == wanted
    both = asked.tag([WORDS[:3], WORDS[4:6]])
    assert [[tag.word for tag in tags] for tags in both] == [WORDS[:3], WORDS[4:6]]


def test_choices_of_any_number():
    for count in (2, 5):
        choices = [f"a {word}" for word in WORDS[:count]]
        context = tokenizer().encode("I have")
        rows = [features(context, tokenizer().encode(choice), L, "longest_first") for choice in choices]
        logits_K = applied("choice", *(np.stack(field) for field in zip(*rows, strict=True)))
        found = model("choice").choose("I have", choices)
        assert found.prediction == str(logits_K.argmax())
        close(list(found.scores.values()), np.exp(logits_K) / np.exp(logits_K).sum())
    with pytest.raises(UserError, match="1 choices"):
        model("choice").choose("I have", ["a dog"])


def test_the_best_span_of_a_context():
    context = "I have a dog and a saw"
    encode = tokenizer().encode
    pieces = [CLS_ID, *encode("a what?"), SEP_ID, *encode(context), SEP_ID]
    first = len(encode("a what?")) + 2
    types = np.zeros(L, int)
    types[first : len(pieces)] = 1
    logits = applied("span", padded(pieces), types)
    sums = {
        (i, j): logits.start_BL[i] + logits.end_BL[j]
        for i in range(first, len(pieces) - 1)
        for j in range(i, len(pieces) - 1)
    }
    best = max(sums, key=sums.__getitem__)
    found = model("span").answer("a what?", context)
    close(found.score, sums[best], 1e-5)
    close(found.null_score, logits.start_BL[0] + logits.end_BL[0], 1e-5)
    assert found.text == tokenizer().decode(pieces[best[0] : best[1] + 1])
    assert model("span").answer("a what?", LONG).text in LONG
    nothing = model("span").answer("a what?", context, may_have_none=True)
    assert nothing.text == ("" if found.null_score > found.score else found.text)
