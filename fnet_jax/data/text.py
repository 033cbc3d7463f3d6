"""Plain text to lines: hard-wrapped text is joined to paragraphs, and paragraphs are split into sentences."""

import re

_ABBREVIATIONS = (
    "Mr Mrs Ms Dr Prof St Rev Capt Col Gen Lt Sgt Hon Messrs Mme Jr Sr vs etc e.g i.e cf Fig Eq Sec No"
)
# A mark, closing quotes, a space, and then perhaps an opening quote and a capital, a digit or a letter
# without case. Or one of the marks of Chinese and Japanese, which no space follows.
_SENTENCE_END = re.compile(
    r"""[.!?]["'\u201d\u2019)\]]*\s+(?=["'\u201c\u2018(\[]?[^\W_a-z])|[\u3002\uff01\uff1f]\s*"""
)
_NOT_AN_END = re.compile(
    rf"(?:^|[\s(\"'\u201c\u2018])(?:{'|'.join(map(re.escape, _ABBREVIATIONS.split()))}|[A-Z])\.\s+$"
)
# Text with longer lines than this counts as not wrapped.
_WRAP_WIDTH = 120


def sentences(paragraph: str) -> list[str]:
    """Splits at full stops, exclamation and question marks that a capital or a digit follows.

    Common abbreviations and initials do not end a sentence. Joined by spaces, the result is the
    paragraph again, up to whitespace.
    """
    found, start = [], 0
    for match in _SENTENCE_END.finditer(paragraph):
        if _NOT_AN_END.search(paragraph, max(start, match.start() - 8), match.end()):
            continue
        found.append(paragraph[start : match.end()].strip())
        start = match.end()
    rest = paragraph[start:].strip()
    return [*found, rest] if rest else found


def paragraphs(text: str) -> list[str]:
    """The non-empty lines of a document; of a hard-wrapped one, its paragraphs, each on one line."""
    lines = [line.rstrip() for line in text.splitlines()]
    if not _is_wrapped(lines):
        return [" ".join(line.split()) for line in lines if line.strip()]
    width = _typical_width(lines)
    blank_separates = sum(not line for line in lines) > len(lines) / 50
    found: list[list[str]] = []
    previous = ""
    for line in lines:
        if line.strip():
            if (
                not found
                or not previous
                or (not blank_separates and _starts_paragraph(line, previous, width))
            ):
                found.append([])
            found[-1].extend(line.split())
        previous = line
    return [" ".join(words) for words in found]


def _is_wrapped(lines: list[str]) -> bool:
    """Whether most lines are about as long as the longest ones, and none is a paragraph."""
    lengths = sorted(len(line) for line in lines if line)
    if len(lengths) < 8:
        return False
    long, median = lengths[int(0.99 * len(lengths))], lengths[len(lengths) // 2]
    return long <= _WRAP_WIDTH and median >= 0.7 * lengths[int(0.9 * len(lengths))]


def _typical_width(lines: list[str]) -> int:
    lengths = sorted(len(line) for line in lines if line)
    return lengths[int(0.9 * len(lengths))]


def _starts_paragraph(line: str, previous: str, width: int) -> bool:
    """Whether `line` is indented, or `previous` ended a sentence with room left for the next word."""
    indented = line[0].isspace() and not previous[0].isspace()
    word = line.split(None, 1)[0]
    had_room = len(previous) + 1 + len(word) < 0.9 * width
    return indented or (had_room and previous.rstrip("\"'\u201d\u2019)")[-1:] in ".!?:")
