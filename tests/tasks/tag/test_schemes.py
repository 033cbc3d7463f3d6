"""Tag schemes, and entities against seqeval, which the field counts with."""

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from fnet_jax.core.errors import UserError
from fnet_jax.tasks.tag.schemes import (
    entities,
    iob1_to_iob2,
    labels_of,
    scheme_of,
    spells_entities,
)
from fnet_jax.tasks.tag.scores import entity_scores

TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC"))]
SENTENCE = st.lists(st.sampled_from(TAGS), max_size=12)


def where(sentence, word):
    return f"f:{sentence + 1}:{word + 1}"


@pytest.mark.parametrize(
    ("scheme", "sentences"),
    [
        ("IOB2", ["O B-PER I-PER O B-LOC B-LOC", "B-PER"]),
        ("IOB2", ["B-PER I-PER", "O O"]),
        ("IOB1", ["O I-PER I-PER B-PER I-LOC", "O"]),
        ("IOBES", ["S-PER B-LOC I-LOC E-LOC S-LOC", "O B-PER E-PER"]),
        ("plain", ["DT NN VB", "NN O"]),
        ("plain", ["O O"]),
    ],
)
def test_schemes_are_told_apart(scheme, sentences):
    assert scheme_of([sentence.split() for sentence in sentences], where) == scheme


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ("O B-PER I-LOC B-LOC", "f:1:3: tag 'I-LOC' after 'B-PER' is no IOB2"),
        ("I-PER O B-PER", "f:1:1: tag 'I-PER' after the beginning of its sentence is no IOB2"),
        ("S-PER I-PER", "f:1:2: tag 'I-PER' after 'S-PER' is no IOBES"),
        ("O B-PER O E-PER", "f:1:3: tag 'O' after 'B-PER' is no IOBES"),
        ("E-PER B-LOC", "f:1:1: tag 'E-PER' after the beginning"),
        ("S-PER B-LOC", "f:1:2: tag 'B-LOC' after 'S-PER' is no IOBES"),
        ("B-PER L-PER", "f:1:2: tag 'L-PER' beside tags such as 'B-PER'; valid: O and B-TYPE, I-TYPE"),
        ("O PER B-LOC", "f:1:2: tag 'PER' beside tags such as 'B-LOC'"),
    ],
)
def test_tags_that_follow_no_scheme_are_refused_by_name(tags, said):
    with pytest.raises(UserError) as refused:
        scheme_of([tags.split()], where)
    assert said in str(refused.value)


def test_iob1_becomes_iob2_with_the_same_entities():
    tags = ["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-PER", "B-PER"]
    turned = iob1_to_iob2(tags)
    assert turned == ["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-PER", "B-PER"]
    assert entities(turned) == entities(tags)
    assert iob1_to_iob2(turned) == turned


def test_labels_cover_prefixes_that_the_training_split_lacks():
    assert labels_of([["O", "B-PER"], ["B-LOC"]], "IOB2") == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert labels_of([["S-PER"]], "IOBES") == ("O", "B-PER", "I-PER", "E-PER", "S-PER")
    assert labels_of([["NN", "DT"]], "plain") == ("DT", "NN")
    assert spells_entities(("O", "B-PER")) and not spells_entities(("O", "NN"))


@settings(deadline=None)
@given(SENTENCE)
def test_entities_are_those_of_seqeval(tags):
    """Whatever the tags, also when they keep to no scheme, as a model's may."""
    assert [(kind, begin, end - 1) for kind, begin, end in entities(tags)] == get_entities(tags)


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCE, st.randoms(use_true_random=False)), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore::seqeval.metrics.v1.UndefinedMetricWarning")
def test_scores_are_those_of_seqeval(drawn):
    labels = [tags for tags, _ in drawn]
    predicted = [
        [tag if chance.random() < 0.6 else chance.choice(TAGS) for tag in tags] for tags, chance in drawn
    ]
    scores = entity_scores(labels, predicted)
    for name, metric in (
        ("precision", seqeval.metrics.precision_score),
        ("recall", seqeval.metrics.recall_score),
        ("f1", seqeval.metrics.f1_score),
    ):
        assert scores[name] == pytest.approx(metric(labels, predicted, zero_division=0)), name
    kinds = sorted({entity.kind for tags in (*labels, *predicted) for entity in entities(tags)})
    by_kind = seqeval.metrics.f1_score(labels, predicted, average=None, zero_division=0) if kinds else []
    assert [scores.pop(f"f1:{kind}") for kind in kinds] == pytest.approx(list(by_kind))
    assert scores.keys() == {"precision", "recall", "f1"}


def test_scores_counted_by_hand():
    labels = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "O"]]
    predicted = [["B-PER", "O", "O", "B-LOC"], ["B-PER", "B-LOC"]]
    # Found 4 (PER too short, LOC right, PER right, LOC wrong), wanted 3, right 2.
    assert entity_scores(labels, predicted) == {
        "precision": 2 / 4, "recall": 2 / 3, "f1": pytest.approx(4 / 7),
        "f1:LOC": pytest.approx(2 / 3), "f1:PER": pytest.approx(1 / 2),
    }  # fmt: skip
    assert entity_scores([["O"]], [["O"]]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
