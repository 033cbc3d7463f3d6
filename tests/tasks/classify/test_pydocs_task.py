"""The embedded task: which library does a paragraph document?"""

import numpy as np
import pytest

from fnet_jax.data import pydocs
from fnet_jax.tasks.classify import pydocs as pydocs_task
from fnet_jax.tasks.open import open_labelled
from tests.tasks.test_open import pairs_of


@pytest.fixture(scope="module")
def embedded(make_data):
    return open_labelled("pydocs", make_data(holdout_fraction=0.1), 0)


def test_paragraphs_have_the_library_that_they_document(embedded):
    assert embedded.labels == tuple(pydocs.LIBRARIES)
    assert set(embedded.splits) == {"train", "validation"}
    counts = sum(
        np.bincount(split.labels, minlength=len(embedded.labels)) for split in embedded.splits.values()
    )
    assert np.all(counts > 20)
    assert counts.max() == pydocs_task.MAX_EXAMPLES == counts[embedded.labels.index("scipy")]
    optax = {line for document in pydocs.documents("optax") for line in document.split("\n")}
    examples = pairs_of(embedded, "train") + pairs_of(embedded, "validation")
    mine = [text for text, label in examples if label == "optax"]
    assert len(mine) > 300 and set(mine) <= optax
    assert all(len(text.split()) >= pydocs_task.MIN_WORDS for text in mine)


def test_no_document_and_no_text_is_on_both_sides(embedded):
    sides = [{pydocs_task._likeness(text) for text in split.texts} for split in embedded.splits.values()]
    assert not sides[0] & sides[1]
    assert sum(map(len, sides)) == sum(map(len, embedded.splits.values()))
    train, validation = (set(split.texts) for split in embedded.splits.values())
    for document in pydocs.documents("numpy"):
        lines = set(document.split("\n"))
        assert not (lines & train and lines & validation)
    share = len(validation) / (len(train) + len(validation))
    assert 0.07 < share < 0.13


def test_names_of_libraries_give_little_away(embedded):
    """Guessing the library that is named first, or SciPy, is far from the truth."""
    split = embedded.split("validation")
    fallback = embedded.labels.index("scipy")
    guesses = [
        next((i for i, name in enumerate(embedded.labels) if name in text.lower()), fallback)
        for text in split.texts
    ]
    assert np.mean(np.array(guesses) == split.labels) < 0.3
