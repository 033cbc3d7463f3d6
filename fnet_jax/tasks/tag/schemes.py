"""Tags of words, and the entities that they spell.

| scheme | tags of an entity of type X |
|---|---|
| IOB2 | B-X, then I-X |
| IOB1 | I-X; B-X where another X stands right before it (CoNLL-2003 as published) |
| IOBES | S-X for a single word, else B-X, I-X, E-X |
| plain | tags are labels of words and no entities, such as parts of speech |
"""

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from fnet_jax.core.errors import UserError

Scheme = Literal["IOB1", "IOB2", "IOBES", "plain"]
Sentence = Sequence[str]  # its tags

OUTSIDE = "O"
_TAG = re.compile(r"([BIES])-(.+)")
_PREFIXES: dict[Scheme, str] = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES"}


class Entity(NamedTuple):
    """The words [begin, end) of a sentence."""

    kind: str
    begin: int
    end: int


def scheme_of(sentences: Sequence[Sentence], where: Callable[[int, int], str]) -> Scheme:
    """The scheme of the tags of a file.

    Args:
        sentences: the tags of each.
        where: gives the place of a word (sentence, word), to begin a message with.

    Raises:
        UserError: if some tags are tags of entities and others are not, or they follow no scheme.
    """
    tags = {tag for sentence in sentences for tag in sentence} - {OUTSIDE}
    strange = {tag for tag in tags if not _TAG.fullmatch(tag)}
    if strange == tags:
        return "plain"
    if strange:
        place, tag = _first(sentences, lambda sentence, word: sentence[word] in strange)
        raise UserError(
            f"{where(*place)}: tag {tag!r} beside tags such as {min(tags - strange)!r}; valid: O and "
            "B-TYPE, I-TYPE (IOB1, IOB2), also E-TYPE, S-TYPE (IOBES), or labels without any of these"
        )
    if {tag[0] for tag in tags} & set("ES"):
        _require(sentences, _follows_iobes, "IOBES", where)
        return "IOBES"
    if all(_follows_iob1(sentence, word) for sentence in sentences for word in range(len(sentence))) and any(
        not _follows_iob2(sentence, word) for sentence in sentences for word in range(len(sentence))
    ):
        return "IOB1"
    _require(sentences, _follows_iob2, "IOB2 (nor, elsewhere, IOB1)", where)
    return "IOB2"


def iob1_to_iob2(sentence: Sentence) -> list[str]:
    """The same entities; every first word gets B-."""
    return [
        tag if tag == OUTSIDE or _follows_iob2(sentence, word) else f"B-{tag[2:]}"
        for word, tag in enumerate(sentence)
    ]


def labels_of(sentences: Sequence[Sentence], scheme: Scheme) -> tuple[str, ...]:
    """All tags that a model of these sentences should know: O, then every prefix of every type."""
    tags = {tag for sentence in sentences for tag in sentence}
    if scheme == "plain":
        return tuple(sorted(tags))
    kinds = sorted({tag[2:] for tag in tags - {OUTSIDE}})
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in kinds for prefix in _PREFIXES[scheme]))


def spells_entities(labels: Sequence[str]) -> bool:
    """Whether these labels are tags of a scheme with entities."""
    return any(_TAG.fullmatch(label) for label in labels)


def entities(sentence: Sentence) -> list[Entity]:
    """The entities of a sentence, whether or not its tags keep to their scheme.

    As conlleval of the CoNLL shared tasks, by which all scores of the field are computed, and seqeval:
    what follows O, another type or the end of an entity begins one, whatever its prefix.
    """
    found = []
    begin, kind = 0, ""  # of the open entity; "": none
    for word, tag in enumerate([*sentence, OUTSIDE]):
        prefix, new = (tag[0], tag[2:]) if tag != OUTSIDE else ("O", "")
        last = sentence[word - 1][0] if word else "O"
        if kind and (new != kind or prefix in "BS" or last in "ES"):
            found.append(Entity(kind, begin, word))
            kind = ""
        if new and not kind:
            begin, kind = word, new
    return found


def _parts(sentence: Sentence, word: int) -> tuple[str, str]:
    """Prefix and type of a tag; O at both ends of the sentence."""
    tag = sentence[word] if 0 <= word < len(sentence) else OUTSIDE
    return (tag[0], tag[2:]) if tag != OUTSIDE else (OUTSIDE, "")


def _follows_iob2(sentence: Sentence, word: int) -> bool:
    prefix, kind = _parts(sentence, word)
    return prefix != "I" or _parts(sentence, word - 1)[1] == kind


def _follows_iob1(sentence: Sentence, word: int) -> bool:
    prefix, kind = _parts(sentence, word)
    return prefix != "B" or _parts(sentence, word - 1)[1] == kind


def _follows_iobes(sentence: Sentence, word: int) -> bool:
    (before, old), (prefix, kind) = _parts(sentence, word - 1), _parts(sentence, word)
    goes_on = before in "BI"  # and so must end here or later
    is_last = word == len(sentence) - 1
    return (prefix in "IE") == goes_on and (not goes_on or old == kind) and not (is_last and prefix in "BI")


def _require(
    sentences: Sequence[Sentence],
    follows: Callable[[Sentence, int], bool],
    scheme: str,
    where: Callable[[int, int], str],
) -> None:
    place, tag = _first(sentences, lambda sentence, word: not follows(sentence, word))
    if tag:
        number, word = place
        after = repr(sentences[number][word - 1]) if word else "the beginning of its sentence"
        raise UserError(f"{where(*place)}: tag {tag!r} after {after} is no {scheme}; mend the tags")


def _first(
    sentences: Sequence[Sentence], holds: Callable[[Sentence, int], bool]
) -> tuple[tuple[int, int], str]:
    """The first place (sentence, word) where something holds, and its tag; no tag if nowhere."""
    for number, sentence in enumerate(sentences):
        for word, tag in enumerate(sentence):
            if holds(sentence, word):
                return (number, word), tag
    return (0, 0), ""
