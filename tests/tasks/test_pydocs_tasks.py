"""Embedded data for tags, choices and questions."""

import numpy as np
import pytest

from fnet_jax.data import pydocs
from fnet_jax.tasks.answer.files import Answer
from fnet_jax.tasks.answer.pydocs import _parameters
from fnet_jax.tasks.choose.pydocs import NUM_CHOICES
from fnet_jax.tasks.open import open_labelled
from fnet_jax.tasks.tag.pydocs import _tagged

DOCSTRING = """Adds two things.

Parameters
----------
a : array_like
    The first `thing`.
    It may be long.
b: int, optional
    The other one.
*args
    Passed on.

Returns
-------
c : float
    Their sum.
"""


def test_words_that_are_marked_as_code():
    words, labels = _tagged("Give ``axis=0`` to :func:`~numpy.sum <sum>`, or `None`.")
    assert words == ["Give", "axis", "=", "0", "to", "numpy.sum", ",", "or", "None", "."]
    assert labels == [0, 1, 2, 2, 0, 1, 0, 0, 1, 0]


def test_parameters_and_their_types():
    context, types = _parameters(DOCSTRING)
    assert context == "a : array_like. The first `thing`. It may be long. b : int, optional. The other one."
    assert types == {"a": Answer("array_like", 4), "b": Answer("int, optional", context.index("int"))}
    assert _parameters("Returns\n-------\nc : float\n    Sum.\n") == ("", {})


@pytest.fixture(scope="module")
def small_pydocs():
    """Two small libraries instead of all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydocs, "LIBRARIES", {"optax": "optax", "orbax": "orbax-checkpoint"})
        yield


def opened(task, make_data):
    data = open_labelled(task, make_data(corpus="pydocs", holdout_fraction=0.1), 0)
    train, validation = data.splits["train"], data.splits["validation"]
    assert 0 < len(validation) < len(train) / 2
    assert not {train.key(row) for row in range(len(train))} & {
        validation.key(row) for row in range(len(validation))
    }
    return train


def test_tags(small_pydocs, make_data):
    train = opened("tag", make_data)
    share = np.mean(np.concatenate(train.labels) > 0)
    assert len(train) > 100 and 0.02 < share < 0.5
    assert all(labels.any() for labels in train.labels)


def test_choices(small_pydocs, make_data):
    train = opened("choose", make_data)
    assert len(train) > 100
    assert all(len(set(texts)) == NUM_CHOICES for texts in train.choices)
    assert np.bincount(train.labels).min() > len(train) / 8
    right = [texts[label] for texts, label in zip(train.choices, train.labels, strict=True)]
    wrong = {text for texts, label in zip(train.choices, train.labels, strict=True) for text in texts[:label]}
    assert len(wrong & set(right)) > len(wrong) / 2  # what is wrong here is right elsewhere


def test_questions(make_data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydocs, "LIBRARIES", {"numpy": "numpy"})
        train = opened("answer", make_data)
    assert len(train) > 300
    for context, (answer,) in zip(train.contexts, train.labels, strict=True):
        assert context[answer.start :].startswith(answer.text)
