"""Scores of tags: entities by conlleval's count, words by accuracy."""

import collections
from collections.abc import Sequence

import numpy as np

from fnet_jax.tasks.interface import Scores
from fnet_jax.tasks.tag.files import TagSplit
from fnet_jax.tasks.tag.schemes import entities, spells_entities

F1_OF = "f1:"  # before the type of entities whose F1 it is


def score_tags(
    names: Sequence[str],
    split: TagSplit,
    predicted: Sequence[np.ndarray],
    probabilities: Sequence[np.ndarray],
    train: TagSplit,
) -> Scores:
    """All metrics of tagging.

    Args:
        names: of the tags in the order of their ids.
        split: N sentences with tags.
        predicted: N arrays, a class id per word.
        probabilities: N arrays, those of the predictions; not finite where the model's outputs are not.
        train: tells the baseline, the tag that each word has most often there.

    Returns:
        Micro-averaged `precision`, `recall` and `f1` over entities where the tags spell any, as conlleval
        (Tjong Kim Sang and De Meulder 2003, arXiv cs/0306050) and seqeval count, and `f1:TYPE` over those of
        one type; `accuracy` over words; `score`: F1, or accuracy where tags spell no entities.
    """
    labels = split.labels or []
    warnings = []
    broken = sum(not np.isfinite(values).all() for values in probabilities)
    if broken:
        warnings.append(f"the model's outputs for {broken:,} of {len(split):,} sentences are not finite")
    answers = np.unique(np.concatenate(predicted))
    if len(answers) == 1 and sum(map(len, labels)) > 1:
        warnings.append(f"the model gives every word the tag {names[answers[0]]!r}; that is no result")
    baseline = _most_frequent(train, split.words)
    return Scores(_values(names, labels, predicted), _values(names, labels, baseline), tuple(warnings))


def _values(
    names: Sequence[str], labels: Sequence[np.ndarray], predicted: Sequence[np.ndarray]
) -> dict[str, float]:
    hits = np.concatenate(list(labels)) == np.concatenate(list(predicted))
    accuracy = float(np.mean(hits))
    if not spells_entities(names):
        return {"accuracy": accuracy, "score": accuracy}
    values = entity_scores(
        [[names[label] for label in sentence] for sentence in labels],
        [[names[label] for label in sentence] for sentence in predicted],
    )
    return {**values, "accuracy": accuracy, "score": values["f1"]}


def entity_scores(labels: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """`precision`, `recall` and `f1` over entities: right is one with the same words and the same type.

    `f1:TYPE` is that over the entities of one type. 0 where nothing was predicted, or there is nothing to
    find.
    """
    wanted, found, right = (collections.Counter[str]() for _ in range(3))
    for sentence, answer in zip(labels, predicted, strict=True):
        gold, guessed = set(entities(sentence)), set(entities(answer))
        for counter, some in ((wanted, gold), (found, guessed), (right, gold & guessed)):
            counter.update(entity.kind for entity in some)
    precision = right.total() / max(found.total(), 1)
    recall = right.total() / max(wanted.total(), 1)
    return {
        "precision": precision,
        "recall": recall,
        "f1": _f1(right.total(), found.total(), wanted.total()),
        **{f"{F1_OF}{kind}": _f1(right[kind], found[kind], wanted[kind]) for kind in sorted(wanted | found)},
    }


def _f1(right: int, found: int, wanted: int) -> float:
    """The harmonic mean of precision and recall, from the counts."""
    return 2 * right / max(found + wanted, 1)


def _most_frequent(train: TagSplit, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """For each word the tag that it has most often in the training split; for new words the most frequent."""
    counts: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    for words, labels in zip(train.words, train.labels or [], strict=True):
        for word, label in zip(words, labels.tolist(), strict=True):
            counts[word][label] += 1
    best = {word: count.most_common(1)[0][0] for word, count in counts.items()}
    total: collections.Counter[int] = sum(counts.values(), collections.Counter())
    usual = total.most_common(1)[0][0]
    return [np.array([best.get(word, usual) for word in words]) for words in sentences]
